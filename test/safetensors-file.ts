/** @file Writes safetensors files from the format's description, for tests of what reads them. */

export interface FileEntry {
  readonly dtype: string; // the format's name: F32, BF16, ...
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** -> a file with exactly this header text in front of these bytes. */
export function rawSafetensors(header: string | Uint8Array, data: Uint8Array = new Uint8Array()): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/** -> a file of these tensors in their order. The header is padded with spaces to a multiple of `alignment` bytes. */
export function safetensors(tensors: Readonly<Record<string, FileEntry>>, alignment = 8, metadata?: object): Buffer {
  const entries = Object.values(tensors);
  const header = safetensorsHeader(
    Object.entries(tensors).map(([name, { dtype, shape, bytes }]) => [name, dtype, shape, bytes.byteLength]),
    metadata,
  );
  return rawSafetensors(
    header.padEnd(Math.ceil(header.length / alignment) * alignment),
    Buffer.concat(entries.map(({ bytes }) => bytes)),
  );
}

/** -> the header of tensors side by side, given as name, dtype, shape and number of bytes. */
export function safetensorsHeader(
  tensors: readonly (readonly [name: string, dtype: string, shape: readonly number[], bytes: number])[],
  metadata?: object,
): string {
  let begin = 0;
  const entries = tensors.map(([name, dtype, shape, bytes]) => {
    const entry = [name, { dtype, shape, data_offsets: [begin, begin + bytes] }] as const;
    begin += bytes;
    return entry;
  });
  return JSON.stringify({ ...(metadata ? { __metadata__: metadata } : {}), ...Object.fromEntries(entries) });
}

export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/**
 * @file One number out of the first directory of a TIFF structure. EXIF blocks are such structures, too: that is where
 * a picture's orientation is written, whatever its format.
 *
 * Layout: TIFF 6.0, section 2, and BigTIFF (magic number 43), whose counts and offsets have 8 bytes instead of 4.
 */

export const tiffTags = {
  width: 0x0100,
  compression: 0x0103,
  orientation: 0x0112,
  stripOffsets: 0x0111,
  stripLengths: 0x0117,
  tileOffsets: 0x0144,
  tileLengths: 0x0145,
  extraSamples: 0x0152,
} as const;

/**
 * The first value of a tag that holds numbers; undefined where the tag is absent or holds something else, and
 * for bytes that are no TIFF structure.
 */
export function firstTagValue(bytes: Uint8Array, tag: number): number | undefined {
  try {
    return findTagValue(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), tag);
  } catch (error) {
    if (error instanceof RangeError) return undefined; // an offset points outside the bytes
    throw error;
  }
}

function findTagValue(view: DataView, tag: number): number | undefined {
  const little = view.getUint16(0) === 0x4949; // "II"
  if (!little && view.getUint16(0) !== 0x4d4d) return undefined; // "MM"
  const magic = view.getUint16(2, little);
  if (magic !== 42 && magic !== 43) return undefined;
  const big = magic === 43;
  const readWord = (at: number) => (big ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little));

  const directory = readWord(big ? 8 : 4);
  const entries = big ? readWord(directory) : view.getUint16(directory, little);
  const [firstEntry, entryLength, valueField] = big ? [directory + 8, 20, 12] : [directory + 2, 12, 8];
  for (let index = 0; index < entries; index++) {
    const entry = firstEntry + index * entryLength;
    if (view.getUint16(entry, little) !== tag) continue;
    const type = types[view.getUint16(entry + 2, little)];
    if (type === undefined) return undefined;
    const inline = readWord(entry + 4) * type.length <= (big ? 8 : 4);
    return type.read(view, inline ? entry + valueField : readWord(entry + valueField), little);
  }
  return undefined;
}

/** The numbers among the types of values; bytes (1, 7) and texts are none to Pillow. */
const types: Readonly<
  Record<number, { readonly length: number; read(view: DataView, at: number, little: boolean): number }>
> = {
  3: { length: 2, read: (view, at, little) => view.getUint16(at, little) }, // SHORT
  4: { length: 4, read: (view, at, little) => view.getUint32(at, little) }, // LONG
  5: { length: 8, read: (view, at, little) => view.getUint32(at, little) / view.getUint32(at + 4, little) }, // RATIONAL
  6: { length: 1, read: (view, at) => view.getInt8(at) }, // SBYTE
  8: { length: 2, read: (view, at, little) => view.getInt16(at, little) }, // SSHORT
  9: { length: 4, read: (view, at, little) => view.getInt32(at, little) }, // SLONG
  10: { length: 8, read: (view, at, little) => view.getInt32(at, little) / view.getInt32(at + 4, little) }, // SRATIONAL
  11: { length: 4, read: (view, at, little) => view.getFloat32(at, little) }, // FLOAT
  12: { length: 8, read: (view, at, little) => view.getFloat64(at, little) }, // DOUBLE
  13: { length: 4, read: (view, at, little) => view.getUint32(at, little) }, // IFD
  16: { length: 8, read: (view, at, little) => Number(view.getBigUint64(at, little)) }, // LONG8
};

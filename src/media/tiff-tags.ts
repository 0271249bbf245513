/**
 * @file One number out of the first directory of a TIFF structure. EXIF blocks are such structures, too: that is where
 * a picture's orientation is written, whatever its format.
 *
 * Layout: TIFF 6.0, section 2, and BigTIFF (magic number 43), whose counts and offsets have 8 bytes instead of 4.
 */

export const tiffTags = { orientation: 0x0112, extraSamples: 0x0152 } as const;

/**
 * The first value of a tag that holds unsigned integers; undefined where the tag is absent or holds something else, and
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
    const type = view.getUint16(entry + 2, little);
    const width = type === 3 ? 2 : type === 4 ? 4 : 0; // SHORT, LONG
    if (width === 0) return undefined;
    const inline = readWord(entry + 4) * width <= (big ? 8 : 4);
    const at = inline ? entry + valueField : readWord(entry + valueField);
    return width === 2 ? view.getUint16(at, little) : view.getUint32(at, little);
  }
  return undefined;
}

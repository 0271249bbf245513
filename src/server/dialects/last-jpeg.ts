/**
 * @file A JPEG file behind another one. LightRFT writes all pictures of a sample into one buffer without emptying it, so that each
 * of its strings holds the files before its own.
 */

/** The last of the JPEG files that a text in base64 holds one after another; the text as it is where there is one, or none. */
export function lastJpeg(base64: string): string {
  if (!base64.startsWith("/9j/")) return base64;
  const bytes = Buffer.from(base64, "base64");
  if (!bytes.includes(boundary)) return base64;
  let start = 0;
  for (;;) {
    const end = endOfJpeg(bytes, start);
    if (end === undefined || !isStart(bytes, end)) break;
    start = end;
  }
  return start === 0 ? base64 : bytes.subarray(start).toString("base64");
}

/** The end of a file and the start of the next; a file may have them inside. */
const boundary = Buffer.from([0xff, 0xd9, 0xff, 0xd8, 0xff]);

const isStart = (bytes: Uint8Array, at: number): boolean =>
  bytes[at] === 0xff && bytes[at + 1] === 0xd8 && bytes[at + 2] === 0xff;

/** Where the file that begins at `start` ends; undefined for one that is cut. Thumbnails lie in segments and are passed over. */
function endOfJpeg(bytes: Buffer, start: number): number | undefined {
  for (let at = start + 2; at + 1 < bytes.length; ) {
    at = bytes.indexOf(0xff, at); // behind entropy-coded data of a scan
    if (at === -1) return undefined;
    const marker = bytes[at + 1] ?? 0;
    if (marker === 0xd9) return at + 2;
    if (marker === 0xff) {
      at++; // a fill byte
    } else if (marker === 0x00 || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2; // an escaped byte, a restart
    } else {
      at += 2 + ((bytes[at + 2] ?? 0) << 8) + (bytes[at + 3] ?? 0);
    }
  }
  return undefined;
}

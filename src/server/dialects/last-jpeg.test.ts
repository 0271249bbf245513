import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { lastJpeg } from "./last-jpeg.ts";

/** Files as libjpeg writes them, with and without restarts, scans and a segment that holds another file. */
const files = await Promise.all(
  [1, 2, 3].map(async (seed) => {
    const pixels = Buffer.from(Array.from({ length: 48 * 40 * 3 }, (_, at) => (at * at * seed) % 251));
    const drawn = sharp(pixels, { raw: { width: 48, height: 40, channels: 3 } });
    const inside = await drawn.clone().resize(8, 8).jpeg().toBuffer();
    return drawn
      .jpeg({ progressive: seed === 2, quality: seed === 3 ? 100 : 70 })
      .withExif({ IFD0: { Copyright: `${inside.toString("latin1").slice(0, 20)}\u00ff\u00d9\u00ff\u00d8` } })
      .toBuffer();
  }),
);

/** The file with another one in its second segment, as a camera puts a thumbnail there. */
function withThumbnail(file: Buffer, thumbnail: Buffer): Buffer {
  const segment = Buffer.concat([Buffer.from([0xff, 0xe1, 0, 0]), thumbnail]);
  segment.writeUInt16BE(thumbnail.length + 2, 2);
  return Buffer.concat([file.subarray(0, 2), segment, file.subarray(2)]);
}

const base64 = (...parts: readonly Buffer[]) => Buffer.concat(parts).toString("base64");

describe("lastJpeg", () => {
  test("is the last of several files", () => {
    for (const a of files) {
      for (const b of files) {
        expect(lastJpeg(base64(a, b))).toBe(base64(b));
        expect(lastJpeg(base64(b, a, b))).toBe(base64(b));
      }
    }
  });

  test("is a file that stands alone, whatever lies inside or behind it", () => {
    const [file = Buffer.alloc(0), thumbnail = Buffer.alloc(0)] = files;
    for (const alone of [
      base64(file),
      base64(withThumbnail(file, thumbnail)),
      base64(file, Buffer.from("rest")),
      base64(file.subarray(0, 700)),
      base64(Buffer.from([0xff, 0xd8, 0xff])),
      "iVBORw0KGgo=",
      "",
    ]) {
      expect(lastJpeg(alone)).toBe(alone);
    }
    expect(lastJpeg(base64(withThumbnail(file, thumbnail), thumbnail))).toBe(base64(thumbnail));
  });
});

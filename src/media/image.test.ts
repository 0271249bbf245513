import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import expected from "../../test/fixtures/pictures/expected.json" with { type: "json" };
import { decodeImage } from "./image.ts";

const picture = (name: string) => readFileSync(new URL(`../../test/fixtures/pictures/${name}`, import.meta.url));

describe("pictures of every kind are what Pillow and to_rgb read", () => {
  test.each(Object.entries(expected))("%s", async (name, { width, height, sha256 }) => {
    const image = await decodeImage(picture(name), name);
    expect([image.width, image.height, image.data.length]).toEqual([width, height, width * height * 3]);
    expect(createHash("sha256").update(image.data).digest("hex")).toBe(sha256);
  });
});

// libheif repeats chroma samples where libavif interpolates between them; with a sample of chroma to each pixel
// only the rounding of YCbCr to RGB differs. On photographs 4:2:0 differs by 0.02 to 1.9 on average.
describe("AVIF is near what Pillow reads", () => {
  test.each([
    ["444.avif", { mean: 0.3, most: 1 }],
    ["alpha-444.avif", { mean: 0.3, most: 1 }],
    ["exif-6.avif", { mean: 0.3, most: 1 }],
    ["420.avif", { mean: 2, most: 60 }],
  ])("%s", async (name, tolerance) => {
    const image = await decodeImage(picture(name), name);
    const truth = await decodeImage(picture(`${name.replace(".avif", "")}.avif.png`), name);
    expect([image.width, image.height]).toEqual([truth.width, truth.height]);
    const differences = image.data.map((value, index) => Math.abs(value - (truth.data[index] ?? Number.NaN)));
    expect(differences.reduce((sum, value) => sum + value, 0) / differences.length).toBeLessThan(tolerance.mean);
    expect(differences.reduce((most, value) => Math.max(most, value), 0)).toBeLessThanOrEqual(tolerance.most);
  });
});

describe("what is not a whole picture is refused", () => {
  const halved = [
    ["420.jpg", "422-progressive.jpg", "rgb-8.png", "palette.gif", "lossy.webp", "rgb-raw.tif", "444.avif"],
    ["rgb.bmp", "runs-8.bmp", "palette.bmp", "bytes.ppm", "text.ppm", "bytes.pbm", "rgb.tga", "rgba-runs.tga"],
  ].flat();
  test.each(halved)("half of %s", async (name) => {
    const bytes = picture(name);
    await expect(decodeImage(bytes.subarray(0, bytes.length / 2), name)).rejects.toMatchObject({
      code: "media_damaged",
      message: expect.stringMatching(new RegExp(`^${name} .*: it is cut short`)),
    });
  });

  test("for reasons of their own, however many fail at the same time", async () => {
    const changed = (name: string, at: number): Buffer => {
      const bytes = Buffer.from(picture(name));
      bytes.fill(0xa5, at, at + 4);
      return bytes;
    };
    const damaged: [name: string, bytes: Buffer, reason: string][] = [
      ["checksum.png", changed("rgb-8.png", 60), "the checksum of a chunk IDAT is wrong"],
      ["cut.png", picture("rgba-8.png").subarray(0, 300), "it is cut short within a chunk IDAT, after 300 bytes"],
      ["cut.jpg", picture("444.jpg").subarray(0, 700), "it is cut short before its end mark, after 700 bytes"],
      ["head.jpg", picture("444.jpg").subarray(0, 100), "it is cut short within its header, after 100 bytes"],
      ["cut.gif", picture("palette.gif").subarray(0, 400), "it is cut short, after 400 bytes"],
      ["cut.webp", picture("lossless.webp").subarray(0, 400), "it is cut short, after 400 bytes of"],
    ];
    const together = Array.from({ length: 20 }, () => damaged).flat();
    await Promise.all(
      together.map(([name, bytes, reason]) =>
        expect(decodeImage(bytes, name)).rejects.toMatchObject({
          code: "media_damaged",
          message: expect.stringContaining(`: ${reason}`),
        }),
      ),
    );
  });

  test("a TIFF of a compression that nothing here undoes", async () => {
    const bytes = Buffer.from(picture("rgb-raw.tif"));
    const entry = bytes.indexOf(Buffer.from([0x03, 0x01, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00])); // tag 259, SHORT, one
    bytes.writeUInt16LE(34712, entry + 8); // JPEG 2000
    await expect(decodeImage(bytes, "a.tif")).rejects.toMatchObject({
      message: "a.tif is damaged or an unusual TIFF: its compression 34712 is not supported",
    });
  });

  test("a signature without a picture", async () => {
    const bytes = Buffer.concat([picture("rgb-8.png").subarray(0, 8), Buffer.alloc(200, 7)]);
    await expect(decodeImage(bytes, "x.png")).rejects.toMatchObject({ code: "media_damaged" });
  });

  test("nothing", async () => {
    await expect(decodeImage(new Uint8Array(), "void.jpg")).rejects.toMatchObject({
      code: "media_damaged",
      message: "void.jpg is empty (0 bytes); expected a picture",
    });
  });

  test.each([
    ["SVG", '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'],
    ["HEIC", "\0\0\0\x18ftypheic\0\0\0\0mif1heic"],
    ["an HTML page", "<!doctype html><title>404</title>"],
    ["unknown format", "BMW is a car"],
    ["an icon file", "\0\0\x01\0\x01\0"],
    ["OpenEXR", "v/1\x01\x02\0\0\0"],
    ["a video (mp4)", "\0\0\0\x18ftypisom\0\0\0\0isommp42"],
    ["git lfs pull", "version https://git-lfs.github.com/spec/v1\noid sha256:00"],
    ["PDF", "%PDF-1.7"],
    ["JPEG XL", "\0\0\0\x0cJXL \r\n\x87\n"],
    ["JPEG 2000", "\0\0\0\x0cjP  \r\n\x87\n"],
    ["unknown format", "hello"],
  ])("%s", async (format, start) => {
    await expect(decodeImage(Buffer.from(start, "latin1"), "file.png")).rejects.toMatchObject({
      code: "media_unknown_format",
      message: expect.stringContaining(format),
    });
  });

  test.each([
    [13_377, 13_378, "media_too_large"], // 178,957,506 pixels
    [13_377, 13_377, "media_damaged"], // 178,944,129: within the limit, so decoding begins, and finds no data
  ])("a PNG header that announces %i x %i pixels", async (width, height, code) => {
    await expect(decodeImage(pngWithoutData(width, height), "bomb.png")).rejects.toMatchObject({ code });
  });

  test("a data URL is named without its data", async () => {
    const url = `data:image/png;base64,${"A".repeat(10_000)}`;
    await expect(decodeImage(new Uint8Array(9), url)).rejects.toMatchObject({
      message: expect.stringMatching(/^data:image\/png;base64,… \(a data URL of 10022 characters\) is of an unknown/),
    });
  });
});

/** A PNG of 8-bit RGB whose data is empty. */
function pngWithoutData(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  const chunks = [chunk("IHDR", header), chunk("IDAT", Buffer.alloc(0)), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), ...chunks]);
}

function chunk(kind: string, body: Buffer): Buffer {
  const content = Buffer.concat([Buffer.from(kind), body]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  checksum.writeUInt32BE(crc32(content));
  return Buffer.concat([length, content, checksum]);
}

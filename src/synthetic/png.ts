/**
 * @file Writes a picture as PNG (RGB, eight bits). What is decoded is the picture, bit for bit; how it was compressed
 * may differ from one zlib to the next.
 */
import { constants, crc32, deflateSync } from "node:zlib";
import type { Picture } from "./canvas.ts";

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

export function pngOf({ width, height, data }: Picture): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8); // bits, RGB, and the only compression, filters and order there are
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(filtered(width, height, data), { level: 1, strategy: constants.Z_RLE })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** Each row as its difference from the row above: mostly zeros in a drawing. */
function filtered(width: number, height: number, data: Uint8Array): Uint8Array {
  const stride = 3 * width;
  const rows = new Uint8Array(height * (stride + 1));
  for (let y = 0, at = 0; y < height; y++) {
    rows[at++] = 2; // the filter "up"
    for (let from = y * stride; from < (y + 1) * stride; from++) {
      rows[at++] = (data[from] ?? 0) - (data[from - stride] ?? 0);
    }
  }
  return rows;
}

function chunk(type: string, body: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, "latin1"), body]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  checksum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, checksum]);
}

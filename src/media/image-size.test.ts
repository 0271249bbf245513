import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import expected from "../../test/fixtures/pictures/expected.json" with { type: "json" };
import { decodeImage } from "./image.ts";
import { readImageSize } from "./image-size.ts";

const pathOf = (name: string) => fileURLToPath(new URL(`../../test/fixtures/pictures/${name}`, import.meta.url));

test.each(Object.entries(expected))("%s has the upright size that Pillow reads", async (name, { width, height }) => {
  expect(await readImageSize({ kind: "file", path: pathOf(name) }, name)).toEqual({ width, height });
  expect(await readImageSize({ kind: "bytes", bytes: readFileSync(pathOf(name)) }, name)).toEqual({ width, height });
});

test.each(["420.avif", "444.avif", "alpha-444.avif", "exif-6.avif"])(
  "%s has the size of the same PNG",
  async (name) => {
    const { width, height } = await decodeImage(readFileSync(pathOf(`${name}.png`)), name);
    expect(await readImageSize({ kind: "file", path: pathOf(name) }, name)).toEqual({ width, height });
  },
);

test("only what may be decoded is opened, and a missing file is missing", async () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
  await expect(readImageSize({ kind: "bytes", bytes: svg }, "a.svg")).rejects.toMatchObject({
    code: "media_unknown_format",
  });
  await expect(readImageSize({ kind: "bytes", bytes: new Uint8Array() }, "a")).rejects.toMatchObject({
    code: "media_damaged",
  });
  const cut = readFileSync(pathOf("rgb-8.png")).subarray(0, 20);
  await expect(readImageSize({ kind: "bytes", bytes: cut }, "a.png")).rejects.toMatchObject({ code: "media_damaged" });
  await expect(readImageSize({ kind: "file", path: pathOf("none.png") }, "none.png")).rejects.toMatchObject({
    code: "media_not_found",
  });
});

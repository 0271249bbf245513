import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, test } from "vitest";
import { MediaRegistry } from "./media-registry.ts";

const root = mkdtempSync(join(tmpdir(), "vl-reward-registry-"));
afterAll(() => rmSync(root, { recursive: true }));

const pictures = join(import.meta.dirname, "../../examples/pictures");
const scene = readFileSync(join(pictures, "scene-3.png"));
const idOf = (bytes: Uint8Array) => `media:sha256:${createHash("sha256").update(bytes).digest("hex")}`;

let folders = 0;
const registry = (limits = { maxBytes: 10 ** 6, maxTotalBytes: 10 ** 7 }) =>
  new MediaRegistry(join(root, String(folders++)), limits);

async function* inPieces(bytes: Uint8Array, length = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

test("a picture is found by the SHA-256 of its bytes, by another process too, and lies there once", async () => {
  const first = registry();
  const added = await first.add(inPieces(scene));
  expect(added).toEqual({ id: idOf(scene), kind: "image", bytes: scene.length });
  expect(await first.add(inPieces(scene, 7777))).toEqual(added);
  const other = new MediaRegistry(first.folder, first.limits);
  const found = await other.find(added.id);
  expect(found?.kind).toBe("image");
  expect(readFileSync(found?.path ?? "")).toEqual(scene);
  expect(readdirSync(first.folder)).toHaveLength(1);
});

test("looking for it does not change when it was modified: caches know a file by that", async () => {
  const media = registry();
  const { id } = await media.add(inPieces(scene));
  const before = statSync((await media.find(id))?.path ?? "").mtimeMs;
  await media.find(id);
  expect(statSync((await media.find(id))?.path ?? "").mtimeMs).toBeCloseTo(before, -1);
});

it.each(["media:sha256:abc", `media:sha256:${"0".repeat(64)}`, `media:sha256:../../${"a".repeat(64)}`, "media:x"])(
  "knows nothing of %s",
  async (source) => {
    await expect(registry().find(source)).rejects.toMatchObject({ code: "media_not_found" });
  },
);

it("leaves sources of other kinds alone", async () => {
  for (const source of ["a.png", "data:image/png;base64,AA==", "https://example.org/a.png"]) {
    expect(await registry().find(source)).toBeUndefined();
  }
});

it.each([
  ["nothing", new Uint8Array(), "media_damaged"],
  ["too much", new Uint8Array(1_000_001), "media_too_large"],
  ["text", Buffer.from("no picture at all, only words"), "media_unknown_format"],
  ["SVG", Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>"), "media_unknown_format"],
] as const)("refuses %s and keeps no part of it", async (_name, bytes, code) => {
  const media = registry();
  await expect(media.add(inPieces(bytes))).rejects.toMatchObject({ code });
  expect(readdirSync(media.folder)).toEqual([]);
});

it("keeps no part of an upload that breaks off", async () => {
  const media = registry();
  const broken = async function* () {
    yield scene.subarray(0, 100);
    throw new Error("the connection broke off");
  };
  await expect(media.add(broken())).rejects.toThrow("broke off");
  expect(readdirSync(media.folder)).toEqual([]);
});

test("when it is full, what was used longest ago goes", async () => {
  const sized = (letter: string) => Buffer.concat([scene, Buffer.from(letter)]); // bytes behind a PNG's end change nothing
  const media = registry({ maxBytes: 10 ** 6, maxTotalBytes: 3 * scene.length + 10 });
  const ids: string[] = [];
  for (const letter of ["a", "b", "c"]) ids.push((await media.add(inPieces(sized(letter)))).id);
  const longAgo = Date.now() / 1000 - 10_000;
  for (const [index, id] of ids.entries()) {
    const { path = "" } = (await media.find(id)) ?? {};
    utimesSync(path, longAgo + 1000 * index, statSync(path).mtime);
  }
  await media.find(ids[0] ?? ""); // used again
  await media.add(inPieces(sized("d")));
  await expect(media.find(ids[1] ?? "")).rejects.toMatchObject({ code: "media_not_found" });
  for (const id of [ids[0], ids[2], idOf(sized("d"))]) expect(await media.find(id ?? "")).toBeDefined();
});

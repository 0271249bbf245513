import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serve } from "../../test/local-server.ts";
import { localPolicy, type MediaLimits, type MediaPolicy } from "./policy.ts";
import { openMedia, readMedia } from "./source.ts";

const content = Buffer.from([0x89, 0x50, 0x00, 0xff, 0x2b, 0x20]);
const fileName = "été 100% #1.bin";
let baseFolder: string;
const limitedTo = (limits: Partial<MediaLimits>): MediaPolicy => ({
  ...localPolicy,
  limits: { ...localPolicy.limits, ...limits },
});

beforeAll(() => {
  baseFolder = mkdtempSync(join(tmpdir(), "media-source-"));
  writeFileSync(join(baseFolder, fileName), content);
});
afterAll(() => rmSync(baseFolder, { recursive: true }));

describe("files", () => {
  test("by a relative path, an absolute path and file URLs", async () => {
    const path = join(baseFolder, fileName);
    for (const source of [
      fileName,
      path,
      pathToFileURL(path).href,
      pathToFileURL(path).href.replace("file://", "file://localhost"),
      `file://${encodeURIComponent(fileName)}`,
    ]) {
      expect(await openMedia(source, { baseFolder })).toEqual({ kind: "file", path });
      expect(await readMedia(source, { baseFolder })).toEqual(content);
    }
  });

  test("that do not exist are named as they were written", async () => {
    await expect(openMedia("img/none.png", { baseFolder })).rejects.toMatchObject({
      code: "media_not_found",
      message: "img/none.png does not exist; paths are relative to the folder of the record's file",
    });
  });

  test("a folder, a path through a file, a bad escape, a device", async () => {
    const messages = {
      "./": "./ is a folder; expected",
      [`${fileName}/x`]: "does not exist",
      "file:///100%.png": "does not exist",
      "/dev/null": "/dev/null is not a regular file",
    };
    for (const [source, message] of Object.entries(messages)) {
      await expect(openMedia(source, { baseFolder })).rejects.toMatchObject({
        code: "media_not_found",
        message: expect.stringContaining(message),
      });
    }
  });

  test("of a file URL's two readings the path as it stands comes first, then the one with escapes", async () => {
    const folder = mkdtempSync(join(tmpdir(), "media-urls-"));
    try {
      const options = { baseFolder: folder };
      for (const name of ["50% off.png", "a%20b.png", "a b.png", "c d.png"]) writeFileSync(join(folder, name), name);
      const readings = {
        "file://50% off.png": "50% off.png",
        "file://50%25 off.png": "50% off.png",
        "file://a%20b.png": "a%20b.png", // both are there
        "file://c%20d.png": "c d.png",
      };
      for (const [source, name] of Object.entries(readings)) {
        expect((await readMedia(source, options)).toString()).toBe(name);
        const absolute = source.replace("file://", `file://${folder}/`);
        const policy: MediaPolicy = { ...localPolicy, files: { below: folder } };
        expect((await readMedia(absolute, { baseFolder, policy })).toString()).toBe(name);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("that are no regular files, or show none of their size, are not opened: they may never end", async () => {
    const pipe = join(baseFolder, "pipe");
    execFileSync("mkfifo", [pipe]);
    writeFileSync(join(baseFolder, "empty.png"), "");
    const messages = { [pipe]: "is not a regular file", "/dev/zero": "is not a regular file", "empty.png": "is empty" };
    for (const [source, message] of Object.entries(messages)) {
      for (const read of [openMedia, readMedia]) {
        await expect(read(source, { baseFolder })).rejects.toMatchObject({ message: expect.stringContaining(message) });
      }
    }
  });

  test("are named in at most 120 characters", async () => {
    const long = [
      "x.".repeat(2500),
      `${"folder/".repeat(400)}a.png`,
      `file://${"%20".repeat(3000)}`,
      "a.b/".repeat(2 ** 20),
    ];
    for (const source of [...long, `http://${"a.".repeat(2 ** 20)}`]) {
      const error = await openMedia(source, { baseFolder }).catch((cause: unknown) => cause);
      expect(error).toMatchObject({ code: "media_not_found" });
      expect((error as Error).message.length).toBeLessThan(240);
    }
  });

  test("larger than the limit are opened, but not read into memory", async () => {
    const options = { baseFolder, policy: limitedTo({ maxBytes: 5 }) };
    expect(await openMedia(fileName, options)).toMatchObject({ kind: "file" });
    await expect(readMedia(fileName, options)).rejects.toMatchObject({
      code: "media_too_large",
      message: `${fileName} has 6 bytes; the limit is 5 bytes`,
    });
  });
});

describe("files below a folder", () => {
  // outside.png; root/in.png, root/sub/; links: root/out.png -> outside.png, root/up -> the top, root/gone.png -> nothing,
  // root/to-in.png -> in.png, alias -> root
  let top: string;
  beforeAll(() => {
    top = realpathSync(mkdtempSync(join(tmpdir(), "media-below-")));
    mkdirSync(join(top, "root/sub"), { recursive: true });
    mkdirSync(join(top, "root-too"));
    for (const name of ["outside.png", "root/in.png", "root/..in.png", "root-too/a.png"]) {
      writeFileSync(join(top, name), content);
    }
    const links = {
      "root/out.png": "../outside.png",
      "root/up": "..",
      "root/gone.png": "none",
      "root/to-in.png": "in.png",
    };
    for (const [name, target] of Object.entries(links)) symlinkSync(target, join(top, name));
    symlinkSync("root", join(top, "alias"));
  });
  afterAll(() => rmSync(top, { recursive: true }));

  const below = (folder: string): MediaPolicy => ({ ...localPolicy, files: { below: folder } });
  const url = (name: string) => pathToFileURL(join(top, name)).href;

  test.each(["root", "alias", "root/sub/..", "root/up/root"])("are read, the folder given as %s", async (folder) => {
    const options = { baseFolder: join(top, "root/sub"), policy: below(join(top, folder)) };
    for (const source of [
      "../in.png",
      join(top, "alias/in.png"),
      url("root/in.png"),
      "../to-in.png",
      "../up/root/in.png",
    ]) {
      expect(await openMedia(source, options)).toEqual({ kind: "file", path: join(top, "root/in.png") });
      expect(await readMedia(source, options)).toEqual(content);
    }
    expect(await readMedia("../..in.png", options)).toEqual(content); // begins like a way up, and is none
  });

  test.each(["root", "alias"])("and none elsewhere, the folder given as %s", async (folder) => {
    const options = { baseFolder: join(top, "root"), policy: below(join(top, folder)) };
    const sources = [
      "../outside.png",
      "sub/../../outside.png",
      join(top, "outside.png"),
      url("outside.png"),
      `file://localhost${join(top, "outside.png")}`,
      "file:..%2Foutside.png",
      "file://%2e%2e/outside.png",
      "out.png",
      "up/outside.png",
      "up/root-too/a.png",
      "../root-too/a.png", // a longer name is not a folder below
      "../none.png", // as one that is there: nobody learns what is
      "/none/none.png",
      "..",
    ];
    for (const source of sources) {
      for (const read of [openMedia, readMedia]) {
        await expect(read(source, options)).rejects.toMatchObject({
          code: "media_forbidden",
          message: expect.stringContaining(`is not below ${join(top, folder)}`),
        });
      }
    }
  });

  test("that are missing, or are no files", async () => {
    const options = { baseFolder: join(top, "root"), policy: below(join(top, "root")) };
    for (const source of ["none.png", "none/none.png", "in.png/none.png", "gone.png", "sub", "."]) {
      await expect(openMedia(source, options)).rejects.toMatchObject({ code: "media_not_found" });
    }
    const nowhere = { ...options, policy: below(join(top, "none")) };
    await expect(openMedia("in.png", nowhere)).rejects.toMatchObject({ code: "media_forbidden" });
  });

  test("or none at all, while data URLs are read", async () => {
    const options = { baseFolder: join(top, "root"), policy: { ...localPolicy, files: "none" } as const };
    await expect(readMedia("in.png", options)).rejects.toMatchObject({ code: "media_forbidden" });
    expect(Buffer.from(await readMedia(`data:;base64,${content.toString("base64")}`, options))).toEqual(content);
  });
});

describe("data URLs", () => {
  test("in base64 and percent-encoded", async () => {
    const escaped = content.toString("hex").replace(/../g, "%$&");
    for (const source of [
      `data:image/png;base64,${content.toString("base64")}`,
      `DATA:;base64,${encodeURIComponent(content.toString("base64"))}`,
      `data:,${escaped}`,
    ]) {
      expect(Buffer.from(await readMedia(source, { baseFolder }))).toEqual(content);
    }
  });

  test("that are malformed or too large", async () => {
    await expect(readMedia("data:image/png;base64,a*b=", { baseFolder })).rejects.toMatchObject({
      code: "media_damaged",
    });
    await expect(readMedia("data:image/png;base64", { baseFolder })).rejects.toMatchObject({ code: "media_damaged" });
    const policy = limitedTo({ maxBytes: 10 });
    for (const data of ["01234567890", "x".repeat(1000)]) {
      await expect(readMedia(`data:,${data}`, { baseFolder, policy })).rejects.toMatchObject({
        code: "media_too_large",
      });
    }
  });
});

test("data URLs of any size take time and memory in proportion", async () => {
  const refused = { code: "media_damaged" };
  // Each of these took a regular expression that goes back from the end of every run, or one callback for every escape.
  await expect(readMedia(`data:;base64,${" ".repeat(2 ** 20)}*`, { baseFolder })).rejects.toMatchObject(refused);
  await expect(readMedia(`data:;base64,${"A".repeat(2 ** 20)}*`, { baseFolder })).rejects.toMatchObject(refused);
  const escaped = await readMedia(`data:image/png,${"%41".repeat(2 ** 22)}`, { baseFolder });
  expect(escaped.length).toBe(2 ** 22);
  expect(escaped.every((byte) => byte === 0x41)).toBe(true);
  const policy = limitedTo({ maxBytes: 1000 });
  for (const body of ["%41".repeat(2 ** 20), "A".repeat(2 ** 20)]) {
    for (const header of ["data:,", "data:;base64,"]) {
      await expect(readMedia(header + body, { baseFolder, policy })).rejects.toMatchObject({ code: "media_too_large" });
    }
  }
});

describe("base64 without the beginning of a data URL", () => {
  const picture = readFileSync(new URL("../../test/fixtures/pictures/rgb-8.png", import.meta.url));
  const base64 = picture.toString("base64");

  test("is read where it is a picture's", async () => {
    expect(await openMedia(base64, { baseFolder })).toEqual({ kind: "bytes", bytes: picture });
    expect(await readMedia(base64.replace(/.{76}/g, "$&\n"), { baseFolder })).toEqual(picture);
    const jpeg = readFileSync(new URL("../../test/fixtures/pictures/420.jpg", import.meta.url));
    expect(await readMedia(jpeg.toString("base64"), { baseFolder })).toEqual(jpeg); // begins with /9j/, like a path
  });

  test("counts as a data URL to a policy", async () => {
    const none: MediaPolicy = { ...localPolicy, files: "none" };
    expect(await readMedia(base64, { baseFolder, policy: none })).toEqual(picture);
    await expect(readMedia(base64, { baseFolder, policy: { ...localPolicy, dataUrls: false } })).rejects.toMatchObject({
      code: "media_forbidden",
    });
    await expect(readMedia(base64, { baseFolder, policy: limitedTo({ maxBytes: 100 }) })).rejects.toMatchObject({
      code: "media_too_large",
    });
  });

  test("is named where it may be anything", async () => {
    for (const source of [Buffer.alloc(3000, "text").toString("base64"), `image/png;base64,${base64}`, "base64,AAAA"]) {
      await expect(openMedia(source, { baseFolder })).rejects.toMatchObject({
        code: "media_not_found",
        message: expect.stringMatching(/^.{1,120} looks like base64 .* write data:image\/png;base64,/),
      });
    }
  });

  test("a path of base64 digits stays a path", async () => {
    await expect(openMedia("/9j/pictures", { baseFolder })).rejects.toMatchObject({
      message: expect.stringContaining("does not exist"),
    });
  });
});

describe("addresses", () => {
  test("that answer, at once or after redirects", async () => {
    await using server = await serve((request, response) => {
      if (request.url === "/moved") response.writeHead(302, { location: "/again" }).end();
      else if (request.url === "/again") response.writeHead(308, { location: "picture" }).end();
      else response.end(content);
    });
    for (const path of ["picture", "moved"]) {
      expect(await openMedia(`${server.address}/${path}`, { baseFolder })).toEqual({ kind: "bytes", bytes: content });
    }
  });

  test("with an error status, and no server at all", async () => {
    const server = await serve((_, response) => response.writeHead(404).end("<html>"));
    const source = `${server.address}/x.png`;
    await expect(readMedia(source, { baseFolder })).rejects.toMatchObject({
      code: "media_fetch_failed",
      message: `cannot fetch ${source}: the server answered 404 Not Found`,
    });
    await server[Symbol.asyncDispose]();
    await expect(readMedia(source, { baseFolder })).rejects.toMatchObject({
      code: "media_fetch_failed",
      message: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("that redirect for ever or out of the network", async () => {
    let requests = 0;
    await using server = await serve((request, response) => {
      requests += 1;
      response.writeHead(302, { location: request.url === "/file" ? "file:///etc/hosts" : "/loop" }).end();
    });
    await expect(
      readMedia(`${server.address}/loop`, { baseFolder, policy: limitedTo({ maxRedirects: 3 }) }),
    ).rejects.toMatchObject({
      code: "media_fetch_failed",
      message: expect.stringContaining("redirects more than 3 times"),
    });
    expect(requests).toBe(4);
    await expect(readMedia(`${server.address}/file`, { baseFolder })).rejects.toMatchObject({
      code: "media_fetch_failed",
      message: expect.stringContaining("redirects to file:///etc/hosts"),
    });
  });

  test("that send too much, announced or not", async () => {
    let closed = 0;
    await using server = await serve((request, response) => {
      response.on("close", () => {
        closed += 1;
      });
      if (request.url === "/announced") response.writeHead(200, { "content-length": 10_000_000 }).write("x");
      else sendForever(response);
    });
    const policy = limitedTo({ maxBytes: 100_000 });
    for (const path of ["announced", "endless"]) {
      await expect(readMedia(`${server.address}/${path}`, { baseFolder, policy })).rejects.toMatchObject({
        code: "media_too_large",
        message: expect.stringContaining("the limit is 100000 bytes"),
      });
    }
    await expect.poll(() => closed).toBe(2);
  });

  test("that stall, before the answer or within it, or break off", async () => {
    await using server = await serve((request, response) => {
      if (request.url !== "/silent") response.writeHead(200, { "content-length": 10 }).write("x");
      if (request.url === "/broken") setTimeout(() => response.destroy(), 20);
    });
    for (const path of ["silent", "slow"]) {
      await expect(
        readMedia(`${server.address}/${path}`, { baseFolder, policy: limitedTo({ fetchSeconds: 0.15 }) }),
      ).rejects.toMatchObject({ code: "media_fetch_failed", message: expect.stringContaining("within 0.15 s") });
    }
    await expect(readMedia(`${server.address}/broken`, { baseFolder })).rejects.toMatchObject({
      code: "media_fetch_failed",
    });
  });

  test("until the caller gives up", async () => {
    await using server = await serve(() => undefined);
    const reason = new Error("interrupted");
    const abort = new AbortController();
    setTimeout(() => abort.abort(reason), 50);
    await expect(readMedia(server.address, { baseFolder, signal: abort.signal })).rejects.toBe(reason);
  });

  test("of other kinds are refused", async () => {
    await expect(readMedia("s3://bucket/key.png", { baseFolder })).rejects.toMatchObject({
      code: "media_fetch_failed",
      message: expect.stringContaining("an http(s) address"),
    });
  });
});

function sendForever(response: ServerResponse): void {
  while (!response.destroyed && response.write(Buffer.alloc(16_384)));
  response.once("drain", () => sendForever(response));
}

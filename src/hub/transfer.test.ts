/** @file Bytes that come late, in parts, altered or not at all. */
import { existsSync } from "node:fs";
import { lstat, mkdir, readFile, stat, symlink } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import {
  commit,
  download,
  downloadsOf,
  expectWhole,
  fillAsPythonDoes,
  hub,
  inCache,
  incomplete,
  leave,
  lockOf,
  needed,
  notices,
  settings,
  shard,
  shardBytes,
  useLocalHub,
} from "../../test/hub-download.ts";
import type { LocalHub } from "../../test/local-hub.ts";

useLocalHub();

describe("resuming", () => {
  it("asks for the rest of a partial file only", async () => {
    await leave(incomplete(shard), shardBytes.subarray(0, 100_000));
    await expectWhole(await download());
    expect(downloadsOf(shard).map(({ range }) => range)).toEqual(["bytes=100000-"]);
  });

  it("starts over when the server ignores ranges", async () => {
    await leave(incomplete(shard), shardBytes.subarray(0, 100_000));
    hub.intercept = ({ server, range }, response) => {
      if (server === "storage" && range !== undefined) {
        response.writeHead(200, { "content-length": shardBytes.length }).end(shardBytes);
        return true;
      }
      return false;
    };
    await expectWhole(await download());
  });

  it("needs no request for a partial file that is whole, and drops one that is too long", async () => {
    await leave(incomplete(shard), shardBytes);
    await leave(incomplete("value_head.safetensors"), "head and more");
    await expectWhole(await download());
    expect(downloadsOf(shard)).toEqual([]);
    expect(downloadsOf("value_head").map(({ range }) => range)).toEqual([undefined]);
  });

  it("goes on after more cuts than it has patience for, as long as each brings something", async () => {
    let cuts = 0;
    hub.intercept = ({ server, path, range }, response) => {
      const from = Number(range?.slice("bytes=".length, -1) ?? "0");
      if (server !== "storage" || !path.includes(shard) || from > 250_000) {
        return false;
      }
      cuts++;
      response.writeHead(range === undefined ? 200 : 206, {
        "content-length": shardBytes.length - from,
        ...(range === undefined
          ? {}
          : { "content-range": `bytes ${from}-${shardBytes.length - 1}/${shardBytes.length}` }),
      });
      response.write(shardBytes.subarray(from, from + 40_000), () => response.destroy());
      return true;
    };
    await expectWhole(await download());
    expect(cuts).toBeGreaterThan(settings.retryDelays.length + 1);
  });

  it("leaves the partial file when it is aborted, and the next run uses it", async () => {
    const controller = new AbortController();
    hub.intercept = ({ server, path }, response) => {
      if (server === "storage" && path.includes(shard)) {
        response.writeHead(200, { "content-length": shardBytes.length });
        response.write(shardBytes.subarray(0, 50_000));
        return true;
      }
      return false;
    };
    const running = download({}, "main", {
      signal: controller.signal,
      onProgress: (p) => {
        if (p.kind === "bytes" && p.file === shard && p.fileDone === 50_000) {
          controller.abort(new Error("enough"));
        }
      },
    });
    await expect(running).rejects.toThrow("enough");
    expect((await stat(incomplete(shard))).size).toBe(50_000);
    await expect(stat(inCache("refs", "main"))).rejects.toThrow("ENOENT");
    await expect(stat(lockOf(shard))).rejects.toThrow("ENOENT");
    hub.intercept = () => false;
    hub.seen.length = 0;
    await expectWhole(await download());
    expect(downloadsOf(shard).map(({ range }) => range)).toEqual(["bytes=50000-"]);
  });

  it.skipIf(!existsSync("/dev/full"))(
    "says that the disk is full and keeps what it has (needs /dev/full)",
    async () => {
      await mkdir(inCache("blobs"), { recursive: true });
      await symlink("/dev/full", incomplete(shard)); // every write answers ENOSPC
      await expect(download()).rejects.toMatchObject({
        code: "download_failed",
        message: expect.stringMatching(/disk .* full.*goes on/),
      });
      expect((await lstat(incomplete(shard))).isSymbolicLink()).toBe(true);
    },
  );
});

describe("a hub in trouble", () => {
  it("is asked again after 5xx, 429, a reset connection and silence", async () => {
    const trouble: ((response: Parameters<LocalHub["intercept"]>[1]) => void)[] = [
      (response) => response.writeHead(503).end(),
      (response) => response.writeHead(429).end(),
      (response) => response.socket?.resetAndDestroy(),
      () => undefined,
    ];
    const left = new Map<string, typeof trouble>();
    hub.intercept = ({ server, method, path }, response) => {
      const key = path.startsWith("/api/models") || (server === "storage" && path.includes("value_head")) ? path : "";
      const stage = method === "HEAD" && path.endsWith("/config.json") ? path : key;
      const rest = left.get(stage) ?? trouble.slice();
      left.set(stage, rest);
      const next = stage === "" ? undefined : rest.shift();
      next?.(response);
      return next !== undefined;
    };
    await expectWhole(await download({ retryDelays: [1, 1, 1, 1], idleTimeout: 300 }));
    expect([...left.keys()].filter((key) => key !== "").length).toBeGreaterThanOrEqual(3);
    expect([...left].every(([key, rest]) => key === "" || rest.length === 0)).toBe(true);
  });

  it("is given up after a bounded number of attempts", async () => {
    hub.intercept = (_, response) => {
      response.writeHead(500).end();
      return true;
    };
    await expect(download()).rejects.toMatchObject({ code: "download_failed", message: expect.stringMatching(/500/) });
    expect(hub.seen.length).toBe(settings.retryDelays.length + 1);
  });

  it("that sends a file shorter than it said, again and again, is given up", async () => {
    hub.intercept = ({ server, path }, response) => {
      if (server === "storage" && path.includes("value_head")) {
        response.writeHead(200, { "content-length": 2 }).end("he");
        return true;
      }
      return false;
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/2 of 4 bytes/),
    });
    expect(await readFile(incomplete("value_head.safetensors"), "utf8")).toBe("he");
  });

  it("is replaced by a complete cache, at once and with a notice", async () => {
    await fillAsPythonDoes(Object.keys(needed));
    await hub.stop();
    expect(await download({ retryDelays: [86_400_000] })).toBe(inCache("snapshots", commit));
    expect(notices()).toEqual([expect.stringMatching(/ECONNREFUSED.*Using the copy in the cache/)]);
  });

  it("is replaced by a complete cache when a captive portal answers in its place", async () => {
    await fillAsPythonDoes(Object.keys(needed));
    hub.intercept = (_, response) => {
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Please log in</html>");
      return true;
    };
    expect(await download()).toBe(inCache("snapshots", commit));
    expect(notices()).toEqual([expect.stringContaining("does not answer as a hub does")]);
  });

  it("is an error when the cache lacks a shard", async () => {
    await fillAsPythonDoes(Object.keys(needed).filter((name) => name !== shard));
    await hub.stop();
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/ECONNREFUSED/),
    });
  });
});

describe("checksums", () => {
  it.each([shard, "tokenizer.json"])("refuse altered bytes of %s and delete them", async (name) => {
    hub.intercept = ({ method, path, server }, response) => {
      if (method !== "GET" || !path.includes(name) || (server === "hub" && !path.startsWith("/api/resolve-cache"))) {
        return false;
      }
      const altered = Buffer.from(needed[name] ?? "");
      altered[altered.length - 3] = (altered.at(-3) ?? 0) ^ 1;
      response.writeHead(200, { "content-length": altered.length }).end(altered);
      return true;
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_corrupt",
      message: expect.stringContaining(`${name} of org/model@main`),
    });
    await expect(stat(incomplete(name))).rejects.toThrow("ENOENT");
    await expect(stat(inCache("blobs", hub.etag(name)))).rejects.toThrow("ENOENT");
    hub.intercept = () => false;
    await expectWhole(await download());
  });

  it("cover the part that an earlier run left", async () => {
    await leave(incomplete(shard), Buffer.alloc(1000, 1));
    await expect(download()).rejects.toMatchObject({ code: "download_corrupt" });
    await expect(stat(incomplete(shard))).rejects.toThrow("ENOENT");
  });

  it("refuse more bytes than published", async () => {
    hub.intercept = ({ server, path }, response) => {
      if (server === "storage" && path.includes("value_head")) {
        response.end("headless");
        return true;
      }
      return false;
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_corrupt",
      message: expect.stringMatching(/8 bytes.*4 bytes/),
    });
  });
});

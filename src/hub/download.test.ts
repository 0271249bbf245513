/** @file What a download leaves in the cache, what it takes from there, and several of them at once. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
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
  laterCommit,
  leave,
  lockOf,
  needed,
  notices,
  seen,
  settings,
  sha256OfAbc,
  shard,
  shardBytes,
  useLocalHub,
} from "../../test/hub-download.ts";

useLocalHub();

describe("layout", () => {
  it("is Python's: reference, blobs by checksum, relative links, no leftovers", async () => {
    const snapshot = await download();
    expect(snapshot).toBe(inCache("snapshots", commit));
    expect(await readFile(inCache("refs", "main"), "utf8")).toBe(commit);
    expect((await readdir(snapshot)).sort()).toEqual(Object.keys(needed).sort());
    for (const name of Object.keys(needed)) {
      expect(await readlink(join(snapshot, name))).toBe(`../../blobs/${hub.etag(name)}`);
    }
    expect(await readlink(join(snapshot, "model-00002-of-00002.safetensors"))).toBe(`../../blobs/${sha256OfAbc}`);
    expect((await readdir(inCache("blobs"))).sort()).toEqual(
      Object.keys(needed)
        .map((name) => hub.etag(name))
        .sort(),
    );
    expect((await readdir(inCache())).sort()).toEqual(["blobs", "refs", "snapshots"]);
    expect(await readdir(join(settings.cacheFolder, ".locks", "models--org--model"))).toEqual([]);
    await expectWhole(snapshot);
  });

  it("never asks for files that are not needed", async () => {
    await download();
    const asked = hub.seen.flatMap(({ path }) => /^\/org\/model\/resolve\/[0-9a-f]{40}\/(.+)$/.exec(path)?.[1] ?? []);
    expect(new Set(asked)).toEqual(new Set(Object.keys(needed)));
  });

  it("asks for nothing but the list when all is there", async () => {
    await download();
    hub.seen.length = 0;
    await download();
    expect(hub.seen.map(({ path }) => path)).toEqual(["/api/models/org/model/revision/main"]);
  });

  it("asks for nothing at all when all of a commit is there, and for the list while the head or a shard is not", async () => {
    await fillAsPythonDoes(Object.keys(needed).filter((name) => name !== "value_head.safetensors"));
    await expectWhole(await download({}, commit));
    expect(hub.seen.length).toBeGreaterThan(0);
    hub.seen.length = 0;
    expect(await download({}, commit)).toBe(inCache("snapshots", commit));
    expect(hub.seen).toEqual([]);
    await rm(inCache("blobs", hub.etag(shard)));
    await rm(inCache("snapshots", commit, shard));
    await expectWhole(await download({}, commit));
    expect(downloadsOf(shard).length).toBe(1);
  });

  it("does not fetch weights a second time under other names", async () => {
    hub.files.set("consolidated.safetensors", shardBytes);
    hub.files.set("model.safetensors", shardBytes);
    hub.files.set(
      "consolidated.safetensors.index.json",
      Buffer.from('{"weight_map":{"a":"consolidated.safetensors"}}'),
    );
    const snapshot = await download();
    await expectWhole(snapshot);
    expect((await readdir(snapshot)).sort()).toEqual(Object.keys(needed).sort());
    expect(await download({ offlineBy: "HF_HUB_OFFLINE=1" })).toBe(snapshot);
  });

  it("fetches the one file of weights where there is no index, with its head", async () => {
    for (const name of hub.files.keys()) if (/^model[.-]/.test(name)) hub.files.delete(name);
    hub.files.set("model.safetensors", shardBytes);
    hub.files.set("consolidated.safetensors", shardBytes);
    const snapshot = await download();
    const weights = (await readdir(snapshot)).filter((name) => name.includes("safetensors"));
    expect(weights.sort()).toEqual(["model.safetensors", "value_head.safetensors"]);
  });

  it("uses what Python downloaded, and fetches the rest", async () => {
    await fillAsPythonDoes(Object.keys(needed).filter((name) => name !== "merges.txt"));
    await expectWhole(await download());
    expect(hub.downloads.map(({ path }) => path.split("?")[0])).toEqual([
      `/org/model/resolve/${commit}/merges.txt`,
      `/api/resolve-cache/models/org/model/${commit}/merges.txt`,
    ]);
  });

  it("links blobs that an earlier commit brought instead of fetching them", async () => {
    await download();
    hub.revisions.set("main", laterCommit);
    hub.files.set("config.json", Buffer.from('{"model_type":"qwen2_5_vl","new":1}'));
    hub.seen.length = 0;
    const snapshot = await download();
    expect(snapshot).toBe(inCache("snapshots", laterCommit));
    expect(await readlink(join(snapshot, shard))).toBe(`../../blobs/${hub.etag(shard)}`);
    expect(await readFile(join(snapshot, "config.json"), "utf8")).toContain("new");
    expect(await readFile(inCache("snapshots", commit, "config.json"), "utf8")).not.toContain("new");
    expect(hub.downloads.every(({ path }) => path.includes("/config.json"))).toBe(true);
    expect(await readFile(inCache("refs", "main"), "utf8")).toBe(laterCommit);
  });

  it("pins a commit without writing a reference, and nests references of branches with slashes", async () => {
    hub.revisions.set("refs/pr/1", laterCommit);
    expect(await download({}, commit)).toBe(inCache("snapshots", commit));
    await expect(stat(inCache("refs"))).rejects.toThrow("ENOENT");
    expect(await download({}, "refs/pr/1")).toBe(inCache("snapshots", laterCommit));
    expect(await readFile(inCache("refs", "refs", "pr", "1"), "utf8")).toBe(laterCommit);
  });

  it("ignores names that lead out of the snapshot and refuses etags that do", async () => {
    hub.files.set("../config.json", Buffer.from("evil"));
    hub.files.set("..\\tokenizer.json", Buffer.from("evil"));
    hub.files.set("../evil.safetensors", Buffer.from("evil"));
    const weightMap = { a: shard, b: "model-00002-of-00002.safetensors", c: "../evil.safetensors" };
    hub.files.set("model.safetensors.index.json", Buffer.from(JSON.stringify({ weight_map: weightMap })));
    const snapshot = await download();
    expect((await readdir(snapshot)).sort()).toEqual(Object.keys(needed).sort());
    expect(await readdir(inCache("snapshots"))).toEqual([commit]);
    await rm(settings.cacheFolder, { recursive: true });
    hub.intercept = ({ method }, response) => {
      if (method === "HEAD") {
        response.writeHead(200, { etag: '"../../evil"', "content-length": 4, "x-repo-commit": commit }).end();
      }
      return method === "HEAD";
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/\.\.\/\.\.\/evil/),
    });
  });

  it("refuses a repository without config.json, and one without safetensors by the names of its weights", async () => {
    for (const name of hub.files.keys()) {
      if (name.endsWith(".safetensors")) {
        hub.files.delete(name);
      }
    }
    await expect(download()).rejects.toMatchObject({
      code: "checkpoint_unsupported",
      message: expect.stringMatching(/pytorch_model\.bin/),
    });
    hub.files.delete("config.json");
    await expect(download()).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringMatching(/config\.json/),
    });
    expect(hub.downloads).toEqual([]);
  });
});

describe("offline", () => {
  it("uses a complete cache without a single request", async () => {
    await fillAsPythonDoes(Object.keys(needed));
    expect(await download({ offlineBy: "HF_HUB_OFFLINE=1" })).toBe(inCache("snapshots", commit));
    expect(await download({ offlineBy: "HF_HUB_OFFLINE=1" }, commit)).toBe(inCache("snapshots", commit));
    expect(hub.seen).toEqual([]);
  });

  it("names the missing shard and the variable", async () => {
    await fillAsPythonDoes(Object.keys(needed));
    await rm(inCache("blobs", hub.etag(shard))); // a link that leads nowhere
    await expect(download({ offlineBy: "TRANSFORMERS_OFFLINE=1" })).rejects.toMatchObject({
      code: "offline",
      message: expect.stringMatching(/^model-00001-of-00002\.safetensors of org\/model@main .*TRANSFORMERS_OFFLINE=1/),
    });
    await expect(download({ offlineBy: "HF_HUB_OFFLINE=1" }, "v1.0")).rejects.toMatchObject({
      code: "offline",
      message: expect.stringMatching(/^config\.json of org\/model@v1\.0 .*HF_HUB_OFFLINE=1/),
    });
    expect(hub.seen).toEqual([]);
  });
});

describe("several at once", () => {
  it("fetch every file once between two downloads", async () => {
    const [first, second] = await Promise.all([download(), download()]);
    expect(first).toBe(second);
    await expectWhole(first);
    for (const name of Object.keys(needed)) {
      const fetched = hub.downloads.filter(({ path }) => path.includes(`/${name}`) && !path.includes("/resolve/"));
      expect(fetched.length, name).toBe(1);
    }
  });

  it("never more than four files at a time", async () => {
    let open = 0;
    let most = 0;
    hub.intercept = ({ path, method }, response) => {
      if (method === "GET" && !path.startsWith("/api/models/") && !path.includes("/resolve/")) {
        most = Math.max(most, ++open);
        response.on("close", () => open--);
        const bytes = needed[/([^/]+?)(?:\?.*)?$/.exec(path)?.[1] ?? ""] ?? Buffer.of();
        setTimeout(() => response.writeHead(200, { "content-length": bytes.length }).end(bytes), 50);
        return true;
      }
      return false;
    };
    await expectWhole(await download());
    expect(most).toBe(4);
  });

  it("wait for a living process and take over when it lets go", async () => {
    const other = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    await once(other, "spawn");
    try {
      await leave(lockOf(shard), JSON.stringify({ pid: other.pid, host: hostname(), nonce: "x" }));
      let done = false;
      const running = download().finally(() => {
        done = true;
      });
      await new Promise((resolve) => setTimeout(resolve, 700));
      expect(done).toBe(false);
      expect(downloadsOf(shard)).toEqual([]);
      expect(notices()).toEqual([expect.stringContaining(`Another process is downloading ${shard}`)]);
      await rm(lockOf(shard));
      await expectWhole(await running);
    } finally {
      other.kill();
    }
  });

  it("take over from a process that died", async () => {
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    await leave(lockOf(shard), JSON.stringify({ pid, host: hostname(), nonce: "x" }));
    await leave(incomplete(shard), shardBytes.subarray(0, 200_000));
    await expectWhole(await download());
    expect(downloadsOf(shard).map(({ range }) => range)).toEqual(["bytes=200000-"]);
    expect(notices()).toEqual([]);
  });
});

describe("progress", () => {
  it("counts every byte of every file, monotonically, to the total", async () => {
    await leave(incomplete(shard), shardBytes.subarray(0, 100_000));
    await download();
    const total = Object.values(needed).reduce((sum, bytes) => sum + bytes.length, 0);
    const counts = seen.flatMap((progress) => (progress.kind === "bytes" ? [progress] : []));
    expect(counts.every((count) => count.total === total)).toBe(true);
    expect(counts.at(-1)?.done).toBe(total);
    for (const [index, { done }] of counts.entries()) {
      expect(done).toBeGreaterThanOrEqual(counts[index - 1]?.done ?? 0);
    }
    for (const [name, bytes] of Object.entries(needed)) {
      const last = counts.filter(({ file }) => file === name).at(-1);
      expect([last?.fileDone, last?.fileTotal], name).toEqual([bytes.length, bytes.length]);
    }
    expect(counts.find(({ file }) => file === shard)?.fileDone).toBe(100_000);
  });
});

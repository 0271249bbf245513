/**
 * @file Downloads over real HTTP from test/local-hub.ts into temporary caches. Truth: huggingface_hub's documented cache
 * layout, git's own `hash-object`, and the bytes that the server holds.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LocalHub } from "../../test/local-hub.ts";
import { type DownloadOptions, type DownloadProgress, downloadModel } from "./hub.ts";
import type { HubSettings } from "./hub-settings.ts";

const commit = "1111111111111111111111111111111111111111";
const laterCommit = "2222222222222222222222222222222222222222";
const shard = "model-00001-of-00002.safetensors";
const shardBytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7919) % 251));
// The checksum of "abc" is in FIPS 180-2.
const sha256OfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

const needed: Record<string, Buffer> = {
  "config.json": Buffer.from('{"model_type":"qwen2_5_vl"}'),
  "generation_config.json": Buffer.from("{}"),
  "preprocessor_config.json": Buffer.from('{"patch_size":14}'),
  "tokenizer.json": Buffer.from('{"model":{}}'),
  "tokenizer_config.json": Buffer.from('{"eos_token":"x"}'),
  "chat_template.jinja": Buffer.from("{{ messages }}"),
  "merges.txt": Buffer.from("a b"),
  [shard]: shardBytes,
  "model-00002-of-00002.safetensors": Buffer.from("abc"),
  "model.safetensors.index.json": Buffer.from(
    JSON.stringify({ metadata: {}, weight_map: { a: shard, b: "model-00002-of-00002.safetensors" } }),
  ),
  "value_head.safetensors": Buffer.from("head"),
};
const others = ["README.md", "pytorch_model.bin", "model.gguf", "onnx/model.onnx", "onnx/config.json", "training.pt"];

let hub: LocalHub;
let folder: string;
let settings: HubSettings;
let seen: DownloadProgress[];

beforeEach(async () => {
  const unneeded = others.map((name) => [name, Buffer.from(name)] as const);
  hub = await LocalHub.start({ ...needed, ...Object.fromEntries(unneeded) }, commit);
  folder = await mkdtemp(join(tmpdir(), "vl-reward-hub-"));
  seen = [];
  settings = {
    endpoint: hub.endpoint,
    token: undefined,
    cacheFolder: join(folder, "hub"),
    offlineBy: undefined,
    idleTimeout: 5000,
    retryDelays: [10, 20, 40],
  };
});

afterEach(async () => {
  await hub.stop();
  await rm(folder, { recursive: true, force: true });
});

function download(changes: Partial<HubSettings> = {}, revision = "main", options: DownloadOptions = {}) {
  return downloadModel(hub.id, revision, { ...settings, ...changes }, { onProgress: (p) => seen.push(p), ...options });
}

const inCache = (...path: string[]) => join(settings.cacheFolder, "models--org--model", ...path);
const incomplete = (name: string) => inCache("blobs", `${hub.etag(name)}.incomplete`);
const lockOf = (name: string) =>
  join(settings.cacheFolder, ".locks", "models--org--model", `${hub.etag(name)}.vl-reward.lock`);
const notices = () => seen.flatMap((progress) => (progress.kind === "notice" ? [progress.message] : []));
const downloadsOf = (name: string) =>
  hub.downloads.filter(({ server, path }) => server === "storage" && path.includes(name));

async function leave(path: string, bytes: Buffer | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

/** A model in the cache as Python leaves it: blobs, relative links, a reference without a newline. */
async function fillAsPythonDoes(names: readonly string[], ref = "main"): Promise<void> {
  await mkdir(inCache("snapshots", commit), { recursive: true });
  for (const name of names) {
    await leave(inCache("blobs", hub.etag(name)), needed[name] ?? "");
    await symlink(`../../blobs/${hub.etag(name)}`, inCache("snapshots", commit, name));
  }
  await leave(inCache("refs", ref), commit);
}

async function expectWhole(snapshot: string): Promise<void> {
  for (const [name, bytes] of Object.entries(needed)) {
    expect((await readFile(join(snapshot, name))).equals(bytes), name).toBe(true);
  }
}

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
    const snapshot = await download();
    expect((await readdir(snapshot)).sort()).toEqual(Object.keys(needed).sort());
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

describe("token", () => {
  it("goes to the hub and never to the storage host", async () => {
    await download({ token: "hf_secret" });
    const of = (server: string) => new Set(hub.seen.filter((r) => r.server === server).map((r) => r.authorization));
    expect(of("hub")).toEqual(new Set(["Bearer hf_secret"]));
    expect(of("storage")).toEqual(new Set([undefined]));
    expect(hub.seen.some(({ server }) => server === "storage")).toBe(true);
  });

  it("stays behind when the storage host redirects back to the hub", async () => {
    hub.intercept = ({ server, path }, response) => {
      if (server === "storage") {
        response.writeHead(302, { location: `${hub.endpoint}/back${path}` }).end();
      } else if (path.startsWith("/back")) {
        const bytes = needed[path.replace(/^\/back\/signed\/|\?.*$/g, "")] ?? Buffer.of();
        response.writeHead(200, { "content-length": bytes.length }).end(bytes);
      } else {
        return false;
      }
      return true;
    };
    await expectWhole(await download({ token: "hf_secret" }));
    const back = hub.seen.filter(({ path }) => path.startsWith("/back"));
    expect(back.length).toBe(3);
    expect(back.every(({ authorization }) => authorization === undefined)).toBe(true);
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

  it.skipIf(process.platform !== "linux")("says that the disk is full and keeps what it has", async () => {
    await mkdir(inCache("blobs"), { recursive: true });
    await symlink("/dev/full", incomplete(shard)); // every write answers ENOSPC
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/disk .* full.*goes on/),
    });
    expect((await lstat(incomplete(shard))).isSymbolicLink()).toBe(true);
  });
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
    const start = Date.now();
    expect(await download({ retryDelays: [60_000] })).toBe(inCache("snapshots", commit));
    expect(Date.now() - start).toBeLessThan(30_000);
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

describe("refusals", () => {
  const refuseFiles = (status: number, code?: string) => {
    hub.intercept = ({ path }, response) => {
      const refused = path.includes("/resolve/");
      if (refused) {
        response.writeHead(status, code === undefined ? {} : { "x-error-code": code }).end();
      }
      return refused;
    };
  };

  it("of a gated model say to accept the licence and set the token", async () => {
    refuseFiles(401, "GatedRepo");
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: `org/model is gated. Accept its licence at ${hub.endpoint}/org/model, then set HF_TOKEN to a token of the account that accepted it.`,
    });
    refuseFiles(403, "GatedRepo");
    await expect(download({ token: "hf_other" })).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/gated.*check that the token \(HF_TOKEN\)/),
    });
  });

  it.each([
    { status: 401, token: undefined, code: "model_not_found", message: expect.stringMatching(/private.*set HF_TOKEN/) },
    {
      status: 401,
      token: "hf_bad",
      code: "download_failed",
      message: expect.stringMatching(/token \(HF_TOKEN\) is not valid/),
    },
    {
      status: 403,
      token: "hf_poor",
      code: "download_failed",
      message: expect.stringMatching(/may not read this model/),
    },
    { status: 403, token: undefined, code: "download_failed", message: expect.stringMatching(/Set HF_TOKEN/) },
    {
      status: 404,
      token: undefined,
      code: "model_not_found",
      message: expect.stringMatching(/no model org\/model at http.*Check the name/),
    },
  ])("with status $status, token $token are $code", async ({ status, token, code, message }) => {
    hub.intercept = (_, response) => {
      response.writeHead(status).end();
      return true;
    };
    await expect(download({ token })).rejects.toMatchObject({ code, message });
    expect(hub.seen.length).toBe(1);
  });

  it("name a revision that does not exist", async () => {
    await expect(download({}, "v9")).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringMatching(/no revision "v9"/),
    });
  });

  it("are not hidden by a cached copy", async () => {
    await fillAsPythonDoes(Object.keys(needed));
    hub.intercept = (_, response) => {
      response.writeHead(403).end();
      return true;
    };
    await expect(download({ token: "hf_revoked" })).rejects.toMatchObject({ code: "download_failed" });
  });

  it("of the storage host name that host; of a listed file that is gone, the file", async () => {
    hub.intercept = ({ server }, response) => {
      if (server === "storage") {
        response.writeHead(403).end();
      }
      return server === "storage";
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/storage server 127\.0\.0\.1/),
    });
    refuseFiles(404, "EntryNotFound");
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/^model-.*\.safetensors of org.*does not have it/),
    });
  });

  it("of the file system say to choose another cache", async () => {
    await writeFile(join(folder, "file"), "");
    await expect(download({ cacheFolder: join(folder, "file", "hub") })).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/cache .* cannot be used .*ENOTDIR.*HF_HOME/),
    });
  });
});

describe("redirects", () => {
  it("follow a renamed repository within the hub", async () => {
    hub.intercept = ({ server, path }, response) => {
      const renamed = server === "hub" && path.includes("old/name");
      if (renamed) {
        response.writeHead(307, { location: path.replace("old/name", "org/model") }).end();
      }
      return renamed;
    };
    const snapshot = await downloadModel("old/name", "main", { ...settings, token: "hf_secret" });
    expect(snapshot).toBe(join(settings.cacheFolder, "models--old--name", "snapshots", commit));
    await expectWhole(snapshot);
  });

  it("that never end are refused", async () => {
    hub.intercept = ({ path }, response) => {
      response.writeHead(302, { location: path }).end();
      return true;
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/circles/),
    });
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

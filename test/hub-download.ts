/**
 * @file A local hub with a small model, a temporary cache and what tests of downloads ask of both. Truth: huggingface_hub's
 * documented cache layout, git's own `hash-object`, and the bytes that the server holds.
 */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { type DownloadOptions, type DownloadProgress, downloadModel } from "../src/hub/download.ts";
import type { HubSettings } from "../src/hub/settings.ts";
import { LocalHub } from "./local-hub.ts";

export const commit = "1111111111111111111111111111111111111111";
export const laterCommit = "2222222222222222222222222222222222222222";
export const shard = "model-00001-of-00002.safetensors";
export const shardBytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7919) % 251));
// The checksum of "abc" is in FIPS 180-2.
export const sha256OfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

export const needed: Record<string, Buffer> = {
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

export let hub: LocalHub;
export let folder: string;
export let settings: HubSettings;
export let seen: DownloadProgress[];

/** A hub and an empty cache folder for every test of the file that calls this. */
export function useLocalHub(): void {
  beforeEach(startHub);
  afterEach(stopHub);
}

async function startHub(): Promise<void> {
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
}

async function stopHub(): Promise<void> {
  await hub.stop();
  await rm(folder, { recursive: true, force: true });
}

/** Downloads the model of the local hub; `seen` collects its progress. */
export function download(changes: Partial<HubSettings> = {}, revision = "main", options: DownloadOptions = {}) {
  return downloadModel(hub.id, revision, { ...settings, ...changes }, { onProgress: (p) => seen.push(p), ...options });
}

export const inCache = (...path: string[]) => join(settings.cacheFolder, "models--org--model", ...path);
export const incomplete = (name: string) => inCache("blobs", `${hub.etag(name)}.incomplete`);
export const lockOf = (name: string) =>
  join(settings.cacheFolder, ".locks", "models--org--model", `${hub.etag(name)}.vl-reward.lock`);
export const notices = () => seen.flatMap((progress) => (progress.kind === "notice" ? [progress.message] : []));
export const downloadsOf = (name: string) =>
  hub.downloads.filter(({ server, path }) => server === "storage" && path.includes(name));

export async function leave(path: string, bytes: Buffer | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

/** A model in the cache as Python leaves it: blobs, relative links, a reference without a newline. */
export async function fillAsPythonDoes(names: readonly string[], ref = "main"): Promise<void> {
  await mkdir(inCache("snapshots", commit), { recursive: true });
  for (const name of names) {
    await leave(inCache("blobs", hub.etag(name)), needed[name] ?? "");
    await symlink(`../../blobs/${hub.etag(name)}`, inCache("snapshots", commit, name));
  }
  await leave(inCache("refs", ref), commit);
}

export async function expectWhole(snapshot: string): Promise<void> {
  for (const [name, bytes] of Object.entries(needed)) {
    expect((await readFile(join(snapshot, name))).equals(bytes), name).toBe(true);
  }
}

/** @file What a person may write after --model. The hub is test/local-hub.ts, reached through HF_ENDPOINT. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LocalHub } from "../../test/local-hub.ts";
import { locateModel } from "./locate.ts";

const commit = "1111111111111111111111111111111111111111";
const tagged = "2222222222222222222222222222222222222222";
let hub: LocalHub;
let folder: string;
let embedded: string;

beforeEach(async () => {
  const files = { "config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights" };
  const buffers = Object.entries(files).map(([name, text]) => [name, Buffer.from(text)] as const);
  hub = await LocalHub.start(Object.fromEntries(buffers), commit);
  hub.revisions.set("v1.0", tagged);
  folder = await mkdtemp(join(tmpdir(), "vl-reward-locate-"));
  embedded = join(folder, "embedded");
  await mkdir(embedded);
  await writeFile(join(embedded, "config.json"), "{}");
  for (const name of [
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_TOKEN_PATH",
  ]) {
    vi.stubEnv(name, undefined);
  }
  vi.stubEnv("HF_HOME", join(folder, "hf"));
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_TOKEN", "hf_secret");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  await rm(folder, { recursive: true });
});

const snapshot = (of: string) => join(folder, "hf", "hub", "models--org--model", "snapshots", of);

it("takes `tiny` as the embedded model and a folder as it is", async () => {
  expect(await locateModel("tiny", { embedded })).toBe(embedded);
  const own = join(folder, "own");
  await mkdir(own);
  await writeFile(join(own, "config.json"), "{}");
  expect(await locateModel(own, { embedded })).toBe(own);
  expect(hub.seen).toEqual([]);
});

it("brings hub ids into the cache, with the token, at the revision that is asked for", async () => {
  expect(await locateModel("org/model", { embedded })).toBe(snapshot(commit));
  expect(hub.seen[0]?.authorization).toBe("Bearer hf_secret");
  expect(await locateModel("org/model@v1.0", { embedded })).toBe(snapshot(tagged));
  expect(await locateModel("org/model", { embedded, revision: "v1.0" })).toBe(snapshot(tagged));
  expect(await locateModel(`org/model@${commit}`, { embedded, revision: commit })).toBe(snapshot(commit));
});

it("stays offline when the environment says so", async () => {
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  await expect(locateModel("org/model", { embedded })).rejects.toMatchObject({
    code: "offline",
    message: expect.stringMatching(/config\.json of org\/model@main .*HF_HUB_OFFLINE=1.* no folder org\/model either/),
  });
  expect(hub.seen).toEqual([]);
});

it.each([
  "./nowhere",
  "../nowhere/model",
  "/nowhere/model",
  "models/mine/",
  "a/b/c",
  "~/model",
  "org/.hidden",
  "org/a--b",
  "org/..",
])("says that there is no folder %s, without asking the hub", async (model) => {
  await expect(locateModel(model, { embedded })).rejects.toMatchObject({
    code: "model_not_found",
    message: expect.stringMatching(new RegExp(`^There is no folder ${model.replaceAll(".", "\\.")}: `)),
  });
  expect(hub.seen).toEqual([]);
});

it("names what stands beside the part of a path that is missing", async () => {
  for (const missing of ["embeded", "no/such/model"]) {
    await expect(locateModel(join(folder, missing), { embedded })).rejects.toMatchObject({
      message: `There is no folder ${folder}/${missing}: ${folder} holds embedded. Expected a folder with a config.json.`,
    });
  }
  await expect(locateModel("~/model", { embedded })).rejects.toThrow(/"~" is for the shell/);
});

it("says what else a bare word could have been", async () => {
  await expect(locateModel("qwen", { embedded })).rejects.toMatchObject({
    code: "model_not_found",
    message: expect.stringMatching(/"qwen".*a folder, "tiny", or a hub id/),
  });
});

it("names a folder without config.json, and a file", async () => {
  const empty = join(folder, "empty");
  await mkdir(empty);
  await expect(locateModel(empty, { embedded })).rejects.toMatchObject({
    code: "model_not_found",
    message: `The folder ${empty} has no config.json; expected the folder of a model in the Hugging Face format. It is empty.`,
  });
  const file = join(embedded, "config.json");
  await expect(locateModel(file, { embedded })).rejects.toMatchObject({
    code: "model_not_found",
    message: expect.stringMatching(/is a file/),
  });
});

it("says that a model is neither on the hub nor a folder", async () => {
  await expect(locateModel("models/mine", { embedded })).rejects.toMatchObject({
    code: "model_not_found",
    message: expect.stringMatching(/no model models\/mine at http.* There is no folder models\/mine either\.$/),
  });
});

it("refuses revisions that contradict each other, that a folder cannot have, or that are none", async () => {
  await expect(locateModel("org/model@v1.0", { embedded, revision: "main" })).rejects.toMatchObject({ code: "usage" });
  await expect(locateModel(embedded, { embedded, revision: "main" })).rejects.toMatchObject({ code: "usage" });
  for (const revision of ["", "../up", "a//b", "/abs", "a/../b", "x y"]) {
    await expect(locateModel(`org/model@${revision}`, { embedded })).rejects.toMatchObject({ code: "usage" });
  }
  expect(hub.seen).toEqual([]);
});

/** @file Variables, order and defaults as documented by huggingface_hub ("Environment variables") and in its constants.py. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { hubSettings } from "./settings.ts";

let home: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "vl-reward-home-"));
});

afterEach(() => rm(home, { recursive: true }));

it.each([
  [{}, join(homedir(), ".cache/huggingface/hub")],
  [{ XDG_CACHE_HOME: "/xdg" }, "/xdg/huggingface/hub"],
  [{ XDG_CACHE_HOME: "/xdg", HF_HOME: "/hf" }, "/hf/hub"],
  [{ HF_HOME: "~/hf" }, join(homedir(), "hf/hub")],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's syntax, not ours
  [{ HF_HOME: "/data/$USER/${GROUP}/$UNSET", USER: "ada", GROUP: "g" }, "/data/ada/g/$UNSET/hub"],
  [{ HF_HOME: "/hf", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
  [{ HF_HOME: "/hf", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "/new" }, "/new"],
  [{ HF_HOME: "", HF_HUB_CACHE: "", XDG_CACHE_HOME: "/xdg" }, "/xdg/huggingface/hub"],
])("%o puts the cache into %s", async (env, folder) => {
  expect((await hubSettings({ HF_TOKEN: "t", ...env })).cacheFolder).toBe(folder);
});

it("takes the token from the variable, the given file, or the file of `hf auth login`", async () => {
  await writeFile(join(home, "token"), "hf_login\n");
  await writeFile(join(home, "other"), " hf_other\r\n");
  const token = async (env: Record<string, string>) => (await hubSettings({ HF_HOME: home, ...env })).token;
  expect(await token({})).toBe("hf_login");
  expect(await token({ HF_TOKEN_PATH: join(home, "other") })).toBe("hf_other");
  expect(await token({ HF_TOKEN: "hf_env\n", HF_TOKEN_PATH: join(home, "other") })).toBe("hf_env");
  expect(await token({ HUGGING_FACE_HUB_TOKEN: "hf_old" })).toBe("hf_old");
  expect(await token({ HF_TOKEN_PATH: join(home, "none") })).toBe(undefined);
  expect(await token({ HF_TOKEN: "hf_env", HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).toBe(undefined);
});

it("refuses a token that cannot be sent, without repeating it", async () => {
  const settings = hubSettings({ HF_TOKEN: "hf_a\nhf_b" });
  await expect(settings).rejects.toMatchObject({ code: "usage", message: expect.not.stringContaining("hf_a") });
});

it.each([
  [{ HF_HUB_OFFLINE: "1" }, "HF_HUB_OFFLINE=1"],
  [{ HF_HUB_OFFLINE: "yes" }, "HF_HUB_OFFLINE=yes"],
  [{ TRANSFORMERS_OFFLINE: "true" }, "TRANSFORMERS_OFFLINE=true"],
  [{ HF_HUB_OFFLINE: "0", TRANSFORMERS_OFFLINE: "1" }, undefined],
  [{ HF_HUB_OFFLINE: "", TRANSFORMERS_OFFLINE: "1" }, "TRANSFORMERS_OFFLINE=1"],
  [{}, undefined],
])("%o means offline by %s", async (env, offlineBy) => {
  expect((await hubSettings({ HF_HOME: home, ...env })).offlineBy).toBe(offlineBy);
});

it("takes the hub's address with or without a slash at its end, and refuses what is none", async () => {
  expect((await hubSettings({ HF_HOME: home })).endpoint).toBe("https://huggingface.co");
  expect((await hubSettings({ HF_HOME: home, HF_ENDPOINT: "http://mirror:8080/hf/" })).endpoint).toBe(
    "http://mirror:8080/hf",
  );
  for (const wrong of ["mirror", "ftp://mirror"]) {
    await expect(hubSettings({ HF_HOME: home, HF_ENDPOINT: wrong })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining(`"${wrong}"`),
    });
  }
});

it("waits ten seconds for a byte unless told otherwise, and gives up within half a minute of failures", async () => {
  expect((await hubSettings({ HF_HOME: home })).idleTimeout).toBe(10_000);
  expect((await hubSettings({ HF_HOME: home, HF_HUB_DOWNLOAD_TIMEOUT: "60" })).idleTimeout).toBe(60_000);
  await expect(hubSettings({ HF_HOME: home, HF_HUB_DOWNLOAD_TIMEOUT: "soon" })).rejects.toMatchObject({
    code: "usage",
  });
  const waits = (await hubSettings({ HF_HOME: home })).retryDelays.reduce((sum, delay) => sum + delay, 0);
  expect(waits).toBeGreaterThan(1000);
  expect(waits).toBeLessThan(30_000);
});

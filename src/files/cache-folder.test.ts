import { describe, expect, it } from "vitest";
import { cacheFolder as setupsCacheFolder } from "../../setup/place.mjs";
import { cacheFolder } from "./cache-folder.ts";

describe("cacheFolder", () => {
  const home = { HOME: "/home/ada" };
  it.each([
    ["linux", home, "/home/ada/.cache/vl-reward"],
    ["darwin", home, "/home/ada/Library/Caches/vl-reward"],
    ["darwin", { ...home, XDG_CACHE_HOME: "/caches" }, "/caches/vl-reward"],
    ["linux", { ...home, XDG_CACHE_HOME: "/caches", VL_REWARD_CACHE: "/mine" }, "/mine"],
    ["linux", { ...home, XDG_CACHE_HOME: "", VL_REWARD_CACHE: "" }, "/home/ada/.cache/vl-reward"],
  ] as const)("on %s with %j is %s, as for setup", (platform, env, folder) => {
    expect(cacheFolder(env, platform)).toBe(folder);
    expect(setupsCacheFolder(env, platform)).toBe(folder);
  });
});

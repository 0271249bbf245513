/** @file Addons that are compiled already: taken where sources, platform and libtorch fit, with the libtorch that is there. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { builtAddon, sourceHash } from "../../setup/addon.mjs";
import { ensureAddon } from "../../setup/ensure.mjs";
import { keepForPackage, removeOutdated } from "../../setup/prebuilt.mjs";
import { Clone } from "./clone.ts";
import { listen, repository } from "./sandbox.ts";

const extension = process.platform === "darwin" ? "dylib" : "so";

/** Asks libtorch, so that its answer tells which one it has loaded. */
const asking = `#include <node_api.h>
extern "C" int whichTorch();
NAPI_MODULE_INIT() {
  napi_value value;
  napi_create_int32(env, whichTorch(), &value);
  napi_set_named_property(env, exports, "answer", value);
  return exports;
}
`;

class AskingClone extends Clone {
  constructor() {
    super();
    this.write("clone/native/addon.cc", asking);
  }

  /** A libtorch whose answer is this number. */
  torchThatSays(answer: number, version = "2.13.0+cpu"): string {
    const folder = this.torchWithLibraries(`torch-${answer}`, version);
    const file = this.write(`answer-${answer}.cc`, `extern "C" int whichTorch() { return ${answer}; }\n`);
    execFileSync("c++", ["-shared", "-fPIC", file, "-o", join(folder, "lib", `libc10.${extension}`)]);
    return folder;
  }
}

/** A clone that has the addon of another one, which was compiled against the libtorch that says 1. */
async function cloneWithPrebuilt(): Promise<{ clone: AskingClone; file: string }> {
  const first = new AskingClone();
  await first.build(first.env({ VL_REWARD_TORCH: first.torchThatSays(1) }));
  const { addon, name } = builtAddon({ root: first.root, env: first.env() });
  const clone = new AskingClone();
  return { clone, file: keepForPackage(addon, clone.root, name) };
}

const noCompiler = (clone: Clone): void => rmSync(join(clone.bin, "c++"));

describe("a prebuilt addon", () => {
  it("is taken without a compiler, and loads the libtorch of this machine", async () => {
    const said = listen();
    const { clone, file } = await cloneWithPrebuilt();
    expect(file).toMatch(
      new RegExp(`/prebuilt/${process.platform}-${process.arch}-torch2\\.13\\.0-[0-9a-f]{32}\\.node$`),
    );
    noCompiler(clone);
    await clone.build(clone.env({ VL_REWARD_TORCH: clone.torchThatSays(2, "2.13.0+cu130") }));
    expect(clone.answer()).toBe(2);
    await clone.build(clone.env({ VL_REWARD_TORCH: clone.torchThatSays(3) }));
    expect(clone.answer()).toBe(3);
    const quiet = said.said().length;
    await clone.build(clone.env());
    expect(said.said()).toHaveLength(quiet);
  });

  type Case = [what: string, change: (clone: AskingClone) => void, how: { version?: string; env?: NodeJS.ProcessEnv }];
  it.each<Case>([
    ["of other sources", (clone: AskingClone) => void clone.write("clone/native/answer.h", "#define ANSWER 1\n"), {}],
    ["for another libtorch", () => {}, { version: "2.12.1" }],
    ["where the user names a compiler", () => {}, { env: { CXX: "c++" } }],
  ])("%s is not taken: the addon is compiled", async (_, change, { version = "2.13.0", env = {} }) => {
    const said = listen();
    const { clone } = await cloneWithPrebuilt();
    change(clone);
    const torch = clone.torchThatSays(2, version);
    const before = said.said().length;
    await clone.build(clone.env({ VL_REWARD_TORCH: torch, ...env }));
    expect(clone.answer()).toBe(2);
    expect(said.said().slice(before)).toContain("compiling with c++");
    noCompiler(clone);
    rmSync(join(clone.root, "build"), { recursive: true });
    await expect(clone.build(clone.env({ VL_REWARD_TORCH: torch, ...env }))).rejects.toThrow(/compiler/);
  });

  it("that does not load is named, and the addon is compiled", async () => {
    const said = listen();
    const { clone, file } = await cloneWithPrebuilt();
    copyFileSync(clone.write("damaged", "not an addon"), file);
    await clone.build(clone.env({ VL_REWARD_TORCH: clone.torchThatSays(2) }));
    expect(said.said()).toMatch(/it is not used: .* does not load/);
    expect(clone.answer()).toBe(2);
  });

  it("replaces the one of older sources, and is packed only with its own", async () => {
    listen();
    const { clone } = await cloneWithPrebuilt();
    const torch = clone.torchThatSays(2);
    clone.write("clone/native/answer.h", "#define ANSWER 1\n");
    await clone.build(clone.env({ VL_REWARD_TORCH: torch }));
    const { addon, name } = builtAddon({ root: clone.root, env: clone.env() });
    const other = clone.write(`clone/prebuilt/other-arm64-torch2.13.0-${"0".repeat(32)}.node`, "");
    keepForPackage(addon, clone.root, name);
    expect(readdirSync(join(clone.root, "prebuilt")).sort()).toEqual([name, other.split("/").at(-1)].sort());
    removeOutdated(clone.root, sourceHash(clone.root));
    expect(readdirSync(join(clone.root, "prebuilt"))).toEqual([name]);
  });
});

describe("an installed package", () => {
  it("is left as it is: the addon goes into the user's cache, with hoisted headers, and serves the next project", async () => {
    const said = listen();
    const clone = new AskingClone();
    const env = clone.env({ VL_REWARD_TORCH: clone.torchThatSays(1), VL_REWARD_CACHE: clone.path("cache") });
    const install = (project: string): string => {
      const root = clone.path(project, "node_modules", "vl-reward");
      clone.write(`${project}/node_modules/vl-reward/native/addon.cc`, `#include <napi.h>\n${asking}`);
      clone.write(`${project}/node_modules/vl-reward/package.json`, "{}");
      for (const name of ["node-addon-api", "node-api-headers"]) {
        symlinkSync(join(repository, "node_modules", name), clone.path(project, "node_modules", name));
      }
      return root;
    };
    mkdirSync(clone.path("cache"));
    const root = install("first");
    await ensureAddon({ root, env });
    expect(readdirSync(root).sort()).toEqual(["native", "package.json"]);
    const [record] = readdirSync(clone.path("cache/installed"));
    const addon = clone.path("cache/installed", record ?? "", "vl_reward.node");
    expect(
      execFileSync(process.execPath, ["-p", `require(${JSON.stringify(addon)}).answer`], { encoding: "utf8" }),
    ).toBe("1\n");
    expect(readdirSync(clone.path("cache/installed", record ?? "")).sort()).toEqual([
      "libtorch",
      "native.json",
      "vl_reward.node",
    ]);

    noCompiler(clone);
    await ensureAddon({ root: install("second"), env });
    expect(readdirSync(clone.path("cache/installed"))).toHaveLength(2);
    expect(said.said()).toContain(`taking ${process.platform}-${process.arch}-torch2.13.0-`);
  });

  it("says what to do where the cache cannot be written", async () => {
    const clone = new AskingClone();
    rmSync(join(clone.root, "src"), { recursive: true });
    const env = clone.env({ VL_REWARD_CACHE: clone.write("file", "") });
    await expect(ensureAddon({ root: clone.root, env })).rejects.toThrow(/cannot be made.*Set VL_REWARD_CACHE/);
  });
});

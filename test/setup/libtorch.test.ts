/** @file Which libtorch is taken, and what is said about one that cannot be. */
import { dirname, join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { libtorchIn, torchNamedByUser, torchOfPython, versionFits } from "../../setup/libtorch.mjs";
import { hasPython, listen, Sandbox } from "./sandbox.ts";

test.each([
  ["2.10.0", false],
  ["2.10.9+cu128", false],
  ["2.11.0", true],
  ["2.11.0+cu130", true],
  ["2.12.1+cpu", true],
  ["2.13.0", true],
  ["2.13.2+cu130", true],
  ["2.14.0", false],
  ["2.1.3", false],
  ["2.2.13", false],
  ["3.12.0", false],
  ["1.13.1", false],
  ["", false],
])("torch %s fits: %s", (version, fits) => {
  expect(versionFits(version)).toBe(fits);
});

describe("a folder", () => {
  it("is taken as the torch folder or as its parent", () => {
    const sandbox = new Sandbox();
    const torch = sandbox.torch("site-packages/torch", "2.12.0+cu130", "13.0");
    const expected = { folder: torch, version: "2.12.0+cu130", cudaVersion: "13.0" };
    expect(libtorchIn(torch)).toEqual(expected);
    expect(libtorchIn(dirname(torch))).toEqual(expected);
    expect(libtorchIn(join(torch, "lib"))).toBeUndefined();
  });

  it("is taken as libtorch's archive, which has no Python in it", () => {
    const sandbox = new Sandbox();
    sandbox.write("libtorch/build-version", "2.11.0+cpu\n");
    sandbox.write("libtorch/lib/libtorch_cpu.so", "");
    sandbox.write("libtorch/include/ATen/ATen.h", "");
    expect(libtorchIn(sandbox.path("libtorch"))).toEqual({
      folder: sandbox.path("libtorch"),
      version: "2.11.0+cpu",
      cudaVersion: undefined,
    });
  });
});

describe("VL_REWARD_TORCH", () => {
  const named = (sandbox: Sandbox, folder: string) =>
    torchNamedByUser({ root: sandbox.folder, env: sandbox.env({ VL_REWARD_TORCH: folder }) });

  it("names the libtorch; empty counts as not set", () => {
    const sandbox = new Sandbox();
    const torch = sandbox.torch("torch", "2.11.0+cu130", "13.0");
    expect(named(sandbox, torch)).toEqual({
      folder: torch,
      version: "2.11.0+cu130",
      source: "VL_REWARD_TORCH",
      cuda: false,
    });
    sandbox.write("torch/lib/libtorch_cuda.so", "");
    expect(named(sandbox, torch)?.cuda).toBe(true);
    expect(named(sandbox, "")).toBeUndefined();
  });

  it("is refused by name when it holds none, or one of another version", () => {
    const sandbox = new Sandbox();
    expect(() => named(sandbox, sandbox.path("nowhere"))).toThrow(/VL_REWARD_TORCH=.*nowhere holds no libtorch/);
    const old = sandbox.torch("old/torch", "2.10.0+cpu");
    expect(() => named(sandbox, old)).toThrow(/is torch 2\.10\.0\+cpu; 2\.11 to 2\.13 are supported/);
    const newer = sandbox.torch("newer/torch", "2.14.0");
    expect(() => named(sandbox, newer)).toThrow(/is torch 2\.14\.0; 2\.11 to 2\.13 are supported/);
  });
});

describe("python3's torch", () => {
  /** A real python3 that sees a torch which would fail if it were imported. */
  function withPython(sandbox: Sandbox): NodeJS.ProcessEnv {
    sandbox.write("site/torch/__init__.py", "raise SystemExit('torch was imported')");
    sandbox.borrow("python3");
    return sandbox.env({ PYTHONPATH: sandbox.path("site") });
  }

  it.skipIf(!hasPython)("is found without importing it (needs python3)", async () => {
    const sandbox = new Sandbox();
    const env = withPython(sandbox);
    const folder = sandbox.torch("site/torch", "2.12.1+cpu");
    const expected = { folder, version: "2.12.1+cpu", source: "python3", cuda: false };
    expect(await torchOfPython({ root: sandbox.folder, env })).toEqual(expected);
  });

  it.skipIf(!hasPython)("is passed over, and said so, for its version or without headers (needs python3)", async () => {
    const sandbox = new Sandbox();
    const env = withPython(sandbox);
    const said = listen();
    sandbox.torch("site/torch", "2.6.0");
    expect(await torchOfPython({ root: sandbox.folder, env })).toBeUndefined();
    expect(said.said()).toMatch(/is torch 2\.6\.0, not 2\.11 to 2\.13: not used/);
    sandbox.write("site/torch/version.py", "__version__ = '2.13.0'\n");
    const headerless = new Sandbox();
    headerless.write("site/torch/__init__.py", "");
    headerless.write("site/torch/version.py", "__version__ = '2.13.0'\n");
    headerless.borrow("python3");
    const bare = headerless.env({ PYTHONPATH: headerless.path("site") });
    expect(await torchOfPython({ root: headerless.folder, env: bare })).toBeUndefined();
    expect(said.said()).toMatch(/has no libtorch with headers: not used/);
  });

  it("is not looked for where there is no python3, or one that fails", async () => {
    const sandbox = new Sandbox();
    expect(await torchOfPython({ root: sandbox.folder, env: sandbox.env() })).toBeUndefined();
    sandbox.program("python3", "process.exit(1)");
    expect(await torchOfPython({ root: sandbox.folder, env: sandbox.env() })).toBeUndefined();
    expect(sandbox.calls()).toHaveLength(1);
  });
});

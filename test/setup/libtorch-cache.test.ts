/** @file Our own copy of libtorch: where it goes, what pip is asked for, and what an interruption leaves behind. */
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, test } from "vitest";
import { torchOfCache } from "../../setup/libtorch-cache.mjs";
import { cacheFolder } from "../../setup/place.mjs";
import { listen, Sandbox, versionFile } from "./sandbox.ts";

test.each([
  [{ HOME: "/home/a" }, "linux", "/home/a/.cache/vl-reward"],
  [{ HOME: "/Users/a" }, "darwin", "/Users/a/Library/Caches/vl-reward"],
  [{ HOME: "/home/a", XDG_CACHE_HOME: "/var/tmp/a" }, "linux", "/var/tmp/a/vl-reward"],
  [{ HOME: "/home/a", XDG_CACHE_HOME: "/var/tmp/a", VL_REWARD_CACHE: "/big/disk" }, "linux", "/big/disk"],
] as const)("%o on %s keeps downloads in %s", (env, platform, folder) => {
  expect(cacheFolder(env, platform)).toBe(folder);
});

/** A python3 whose pip "installs" a torch of this version, in two steps with a pause between. */
function fakePip(sandbox: Sandbox, version: string, cuda?: string, pause = 0): NodeJS.ProcessEnv {
  const metadata = [
    "Requires-Dist: sympy>=1.13.3",
    'Requires-Dist: nvidia-nccl-cu13==2.29.7; platform_system == "Linux"',
    'Requires-Dist: opt-einsum>=3.3; extra == "opt-einsum"',
  ];
  sandbox.program(
    "python3",
    `
if (args.includes("--version")) process.exit(0);
const target = args[args.indexOf("--target") + 1];
if (args.some((arg) => arg.startsWith("torch=="))) {
  fs.mkdirSync(join(target, "torch/lib"), { recursive: true });
  fs.writeFileSync(join(target, "torch/version.py"), ${JSON.stringify(versionFile(version, cuda))});
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${pause});
  fs.mkdirSync(join(target, "torch/include")); // fails where the test is over: nothing is left behind
  fs.mkdirSync(join(target, "torch/include/ATen"));
  fs.mkdirSync(join(target, "torch-2.13.0.dist-info"));
  fs.writeFileSync(join(target, "torch-2.13.0.dist-info/METADATA"), ${JSON.stringify(metadata.join("\n"))});
} else fs.mkdirSync(join(target, "nvidia"));
`,
  );
  return sandbox.env({ VL_REWARD_CACHE: sandbox.path("cache") });
}

/** What pip was asked to install, one line per call. */
function asked(sandbox: Sandbox): string[] {
  return sandbox
    .calls()
    .filter((call) => call.includes(" pip install"))
    .map((call) => call.replace(/^python3 -m pip install --target \S+ /, ""));
}

const machine = `torch-2.13.0-${process.platform}-${process.arch}`;

describe("pip installs", () => {
  it("a build for CUDA without a driver: two libraries beside it are enough", async () => {
    const sandbox = new Sandbox();
    const said = listen();
    const env = fakePip(sandbox, "2.13.0+cu130", "13.0");
    const torch = await torchOfCache({ root: sandbox.folder, env }, false);
    expect(asked(sandbox)).toEqual([
      "--no-deps torch==2.13.0",
      "--no-deps nvidia-cuda-runtime==13.0.* nvidia-cuda-cupti==13.0.*",
    ]);
    const folder = sandbox.path("cache", `${machine}-cu130-lean`, "torch");
    expect(torch).toEqual({ folder, version: "2.13.0+cu130", source: "cache", cuda: false });
    expect(said.said()).toContain("installing torch 2.13.0");
  });

  it("a build for CUDA 12 without a driver: the libraries have that release's names", async () => {
    const sandbox = new Sandbox();
    listen();
    await torchOfCache({ root: sandbox.folder, env: fakePip(sandbox, "2.13.0+cu126", "12.6") }, false);
    expect(asked(sandbox)[1]).toBe("--no-deps nvidia-cuda-runtime-cu12==12.6.* nvidia-cuda-cupti-cu12==12.6.*");
  });

  it("a build for CUDA with a driver: all that torch requires, without its extras", async () => {
    const sandbox = new Sandbox();
    listen();
    const env = fakePip(sandbox, "2.13.0+cu130", "13.0");
    const torch = await torchOfCache({ root: sandbox.folder, env }, true);
    expect(asked(sandbox)).toEqual([
      "--no-deps torch==2.13.0",
      'sympy>=1.13.3 nvidia-nccl-cu13==2.29.7; platform_system == "Linux"',
    ]);
    expect(torch).toMatchObject({ cuda: true, folder: sandbox.path("cache", `${machine}-cu130`, "torch") });
  });

  it("the same without a driver where VL_REWARD_CUDA says that there will be one", async () => {
    const sandbox = new Sandbox();
    listen();
    const env = { ...fakePip(sandbox, "2.13.0+cu130", "13.0"), VL_REWARD_CUDA: "1" };
    expect((await torchOfCache({ root: sandbox.folder, env })).cuda).toBe(true);
    expect(asked(sandbox)[1]).toContain("nvidia-nccl-cu13==2.29.7");
  });

  it.each([true, false])("the +cpu build of the user's settings as it is (driver: %s)", async (driver) => {
    const sandbox = new Sandbox();
    listen();
    const torch = await torchOfCache({ root: sandbox.folder, env: fakePip(sandbox, "2.13.0+cpu") }, driver);
    expect(asked(sandbox)).toEqual(["--no-deps torch==2.13.0"]);
    expect(torch).toMatchObject({ cuda: false, folder: sandbox.path("cache", `${machine}-cpu`, "torch") });
  });
});

describe("the cache", () => {
  it("is used by the next clone without any program, and a lean copy gives way when a driver appears", async () => {
    const sandbox = new Sandbox();
    listen();
    const place = { root: sandbox.folder, env: fakePip(sandbox, "2.13.0+cu130", "13.0") };
    const first = await torchOfCache(place, false);
    const calls = sandbox.calls().length;
    expect(await torchOfCache(place, false)).toEqual(first);
    expect(sandbox.calls()).toHaveLength(calls);
    expect((await torchOfCache(place, true)).cuda).toBe(true);
    expect(sandbox.calls().length).toBeGreaterThan(calls);
  });

  const install = (driver: boolean) =>
    `import { torchOfCache } from "SETUP/libtorch-cache.mjs";
     console.log((await torchOfCache({ root: ".", env: process.env }, ${driver})).folder);`;

  it.each(["SIGKILL", "SIGINT", "SIGTERM"] as const)(
    "is whole after %s in the middle and another start",
    async (signal) => {
      const sandbox = new Sandbox();
      const cache = sandbox.path("cache");
      const interrupted = sandbox.spawn(install(false), fakePip(sandbox, "2.13.0+cpu", undefined, 60_000));
      while (asked(sandbox).length === 0) await sleep(20);
      interrupted.kill(signal);
      const outcome = await interrupted.output.then(({ code, signal }) => signal ?? code);
      expect(outcome).toBe({ SIGKILL: "SIGKILL", SIGINT: 130, SIGTERM: 143 }[signal]);
      expect(readdirSync(cache).some((name) => name.includes(".partial-"))).toBe(true);

      const again = await sandbox.spawn(install(false), fakePip(sandbox, "2.13.0+cpu")).output;
      expect(again.stdout.trim()).toBe(sandbox.path("cache", `${machine}-cpu`, "torch"));
      expect(readdirSync(cache)).toEqual([`${machine}-cpu`]);
    },
  );

  it("is filled once by two setups at the same time", async () => {
    const sandbox = new Sandbox();
    const env = fakePip(sandbox, "2.13.0+cpu", undefined, 500);
    const both = await Promise.all([
      sandbox.spawn(install(false), env).output,
      sandbox.spawn(install(false), env).output,
    ]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(both[0].stdout).toBe(both[1].stdout);
    expect(asked(sandbox)).toHaveLength(1);
    expect(both.some(({ stderr }) => stderr.includes("waiting for another setup"))).toBe(true);
  });
});

describe("a missing tool is named, with how to get it", () => {
  it("python3", async () => {
    const sandbox = new Sandbox();
    sandbox.program("apt-get");
    const place = { root: sandbox.folder, env: sandbox.env() };
    const how = process.platform === "darwin" ? /xcode-select --install/ : /apt-get install python3 python3-pip/;
    await expect(torchOfCache(place, false)).rejects.toThrow(
      /python3, whose pip installs libtorch, is not on the PATH/,
    );
    await expect(torchOfCache(place, false)).rejects.toThrow(how);
  });

  it("pip", async () => {
    const sandbox = new Sandbox();
    sandbox.program("python3", "process.exit(1)");
    sandbox.program("dnf");
    const place = { root: sandbox.folder, env: sandbox.env() };
    const how = process.platform === "darwin" ? /xcode-select --install/ : /dnf install python3 python3-pip/;
    await expect(torchOfCache(place, false)).rejects.toThrow(/python3 has no pip/);
    await expect(torchOfCache(place, false)).rejects.toThrow(how);
  });

  it("a pip that fails: its last words and the likely reasons", async () => {
    const sandbox = new Sandbox();
    listen();
    sandbox.program(
      "python3",
      `if (args.join(" ") === "--version") console.log("Python 3.8.20");
       if (!args.includes("install")) process.exit(0);
       console.error("ERROR: No matching distribution found for torch==2.13.0"); process.exit(1)`,
    );
    const failure = torchOfCache({ root: sandbox.folder, env: sandbox.env() }, false);
    await expect(failure).rejects.toThrow(
      /No matching distribution found[\s\S]*Python 3\.10 and newer[\s\S]*Python 3\.8\.20/,
    );
  });

  it("a cache folder that cannot be made", async () => {
    const sandbox = new Sandbox();
    const place = { root: sandbox.folder, env: sandbox.env({ VL_REWARD_CACHE: sandbox.write("file", "") }) };
    await expect(torchOfCache(place, false)).rejects.toThrow(/cannot be made.*Set VL_REWARD_CACHE/);
  });
});

it("does not take a folder that holds half a torch", async () => {
  const sandbox = new Sandbox();
  listen();
  mkdirSync(sandbox.path("cache", `${machine}-cpu`, "torch", "lib"), { recursive: true });
  const env = fakePip(sandbox, "2.13.0+cpu");
  const torch = await torchOfCache({ root: sandbox.folder, env }, false);
  expect(asked(sandbox)).toHaveLength(1);
  expect(existsSync(torch.folder)).toBe(true);
});

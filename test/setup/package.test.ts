/**
 * @file The package as npm packs it, installed into an empty project: what it holds, and that it runs from there by itself. The
 * addon is this clone's, put where another project would have left it; prebuilt.test.ts compiles one for an installed package.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { builtAddon } from "../../setup/addon.mjs";
import { here } from "../../setup/ensure.mjs";
import { keepForOthers } from "../../setup/prebuilt.mjs";
import { repository } from "./sandbox.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "vl-reward-package-")));
const project = join(folder, "project");
const cache = join(folder, "cache");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

const packed: Packed[] = JSON.parse(
  execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: repository, encoding: "utf8" }),
);
const [tarball] = packed;
const paths = tarball?.files.map(({ path }) => path) ?? [];

mkdirSync(project);
writeFileSync(join(project, "package.json"), '{ "private": true }');
const installation = spawnSync(
  "npm",
  [
    "install",
    join(folder, tarball?.filename ?? ""),
    "--prefer-offline",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--fetch-retries=0",
  ],
  { cwd: project, encoding: "utf8" },
);
const unreachable = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTCACHED|ENETUNREACH|code E40[13]/;
const noRegistry = installation.status !== 0 && unreachable.test(installation.stderr);

const env = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({ ...process.env, VL_REWARD_CACHE: cache, ...more });

function run(program: string, ...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(program, args, { cwd: project, encoding: "utf8", env: env() });
}

/** Every file of the installed package, with its size and time. */
const installed = (): string[] => {
  const root = join(project, "node_modules", "vl-reward");
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((name) => [name, statSync(join(root, name))] as const)
    .map(([name, { size, mtimeMs }]) => `${name} ${size} ${mtimeMs}`)
    .sort();
};

describe("the tarball", () => {
  it("holds what runs, no sources, no tests, and at most 8 MB", () => {
    expect(tarball?.size).toBeLessThan(8e6);
    expect(paths).toEqual(
      expect.arrayContaining([
        "bin/vl-reward.mjs",
        "dist/index.js",
        "dist/index.d.ts",
        "dist/cli/main.js",
        "examples/examples.jsonl",
        "man/vl-reward.1",
        "models/tiny/model.safetensors",
        "native/addon.cc",
        "recipes/first-steps.yaml",
        "setup/ensure.mjs",
      ]),
    );
    expect(
      paths.filter((path) => /^(src|test|bench|docs|build)\/|\.test\.|\.map$|(?<!\.d)\.ts$|\.partial/.test(path)),
    ).toEqual([]);
  });

  it("has the page that `man vl-reward` shows", () => {
    const { man }: { man: string } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8"));
    expect(paths).toContain(man.replace(/^\.\//, ""));
  });
});

describe.skipIf(noRegistry)("installed into an empty project (needs the npm registry)", () => {
  it("says what to run when the library is used before any setup", () => {
    expect(installation.stderr).not.toContain("npm error");
    const { stdout } = run(
      process.execPath,
      "--input-type=module",
      "-e",
      `
      import { RewardEngine, VlRewardError } from "vl-reward";
      const folder = "node_modules/vl-reward/models/tiny";
      const error = await RewardEngine.open({ folder, dtype: "float32", device: "cpu" }).catch((error) => error);
      console.log(error instanceof VlRewardError, error.code, error.message);`,
    );
    expect(stdout).toMatch(/^true native_unavailable .*`npx vl-reward setup`.*`await setup\(\)`/);
  });

  it("shows help and completion without setting anything up", () => {
    const help = run("npx", "--no-install", "vl-reward", "--help");
    expect([help.status, help.stderr]).toEqual([0, ""]);
    expect(help.stdout).toContain("Usage: vl-reward");
    expect(run("npx", "--no-install", "vl-reward", "completion", "bash").stdout).toContain("complete -F");
    expect(readdirSync(folder)).not.toContain("cache");
  });

  it("fails as one JSON object where it is asked to and setup cannot go on", () => {
    const { status, stderr } = spawnSync("npx", ["--no-install", "vl-reward", "score", "x.jsonl", "--json"], {
      cwd: project,
      encoding: "utf8",
      env: env({ VL_REWARD_TORCH: project, VL_REWARD_CACHE: join(folder, "unused") }),
    });
    expect(status).toBe(2);
    const { error } = JSON.parse(stderr.trim().split("\n").at(-1) ?? "");
    expect(error).toEqual({ code: "native_unavailable", message: expect.stringContaining("holds no libtorch") });
  });

  it("sets itself up at the first use, writes nothing into node_modules, and is ready from then on", () => {
    const { addon, name } = builtAddon(here);
    keepForOthers(addon, { root: project, env: env() }, name);
    const { torch }: { torch: { folder: string } } = JSON.parse(
      readFileSync(join(repository, "build/native.json"), "utf8"),
    );
    const before = installed();
    const demo = (): ReturnType<typeof run> =>
      spawnSync("npx", ["--no-install", "vl-reward", "demo"], {
        cwd: project,
        encoding: "utf8",
        env: env({ VL_REWARD_TORCH: torch.folder }),
      });
    const first = demo();
    expect(first.stderr).toMatch(
      /\[2\/5\] libtorch: ready[\s\S]*\[3\/5\] native addon: taking [\s\S]*\[3\/5\] native addon: ready/,
    );
    expect(first.stderr).not.toContain("TypeScript");
    expect(first.status).toBe(0);
    expect(first.stdout).toMatch(/\d of 7 right/);
    const second = demo();
    expect([second.status, second.stderr, second.stdout]).toEqual([0, "", first.stdout]);
    expect(installed()).toEqual(before);
  });

  it("scores from a program that sets it up, as transformers does", () => {
    const { stdout, stderr } = run(
      process.execPath,
      "--input-type=module",
      "-e",
      `
      import { RewardEngine, setup } from "vl-reward";
      await setup();
      const engine = await RewardEngine.open({ folder: "node_modules/vl-reward/models/tiny", dtype: "float32", device: "cpu" });
      const picture = { type: "image", image: "pictures/scene-3.png" };
      const text = { type: "text", text: "Which colour does the object on the left have?" };
      const { scores } = await engine.scoreGroup({
        prefix: [{ role: "user", content: [picture, text] }],
        branches: ["It is cyan.", "It is purple."].map((content) => ({ role: "assistant", content })),
        baseFolder: "node_modules/vl-reward/examples",
      });
      await engine.close();
      console.log(JSON.stringify(scores));`,
    );
    expect(stderr).toBe("");
    const [cyan = Number.NaN, purple = Number.NaN]: number[] = JSON.parse(stdout);
    expect(cyan).toBeCloseTo(-4.2224, 3); // transformers 4.51.3 with the same weights
    expect(purple).toBeCloseTo(3.6441, 3);
  });
});

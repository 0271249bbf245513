import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { root, run } from "./command.ts";

const reportSchema = z.strictObject({
  version: z.string(),
  node: z.literal(process.version),
  platform: z.literal(`${process.platform} ${process.arch}`),
  cpu: z.strictObject({ model: z.string(), cores: z.int().positive() }),
  libtorch: z.strictObject({
    version: z.string().regex(/^2\.\d+\.\d+/),
    kind: z.enum(["CPU", "CUDA"]),
    source: z.string(),
    folder: z.string(),
    threads: z.int().positive(),
    devices: z.array(z.string()).nonempty(),
  }),
  precision: z.strictObject({
    device: z.string(),
    auto: z.enum(["float32", "bfloat16"]),
    gflops: z.strictObject({ float32: z.number().positive(), bfloat16: z.number().positive() }),
    remembered: z.boolean(),
  }),
  memory: z.strictObject({ total: z.int().positive(), available: z.int().positive(), budget: z.int().positive() }),
  caches: z.array(z.strictObject({ name: z.string(), folder: z.string(), bytes: z.int().nonnegative() })).length(2),
  pictures: z.string(),
  video: z.boolean(),
  embedded_model: z.strictObject({ folder: z.string(), parameters: z.int().positive(), untrained: z.boolean() }),
  problems: z.array(z.strictObject({ problem: z.string(), remedy: z.string(), needed: z.boolean() })),
});

describe("vl-reward doctor", () => {
  let cache = "";
  const before = process.env.VL_REWARD_CACHE;
  beforeAll(() => {
    cache = mkdtempSync(join(tmpdir(), "doctor-"));
    process.env.VL_REWARD_CACHE = cache;
  });
  afterAll(() => {
    if (before === undefined) delete process.env.VL_REWARD_CACHE;
    else process.env.VL_REWARD_CACHE = before;
    rmSync(cache, { recursive: true });
  });

  it("prints one JSON object for machines, and remembers what it measured", async () => {
    const first = await run(["doctor", "--json"]);
    expect(first.code).toBe(0);
    const report = reportSchema.parse(JSON.parse(first.stdout));
    expect(report.precision.remembered).toBe(false);
    expect(report.memory.available).toBeLessThanOrEqual(report.memory.total);
    expect(report.memory.budget).toBeLessThanOrEqual(report.memory.available);
    expect(report.libtorch.devices).toContain(report.precision.device);
    expect(report.caches[0]?.folder).toBe(cache);
    expect(report.problems.filter(({ needed }) => needed)).toEqual([]);

    const native: unknown = JSON.parse(readFileSync(new URL("../../build/native.json", import.meta.url), "utf8"));
    const { version, source, folder } = report.libtorch;
    expect(native).toMatchObject({ torch: { version, source, folder } });

    const second = reportSchema.parse(JSON.parse((await run(["doctor", "--json"])).stdout));
    expect(second.precision).toEqual({ ...report.precision, remembered: true });
  });

  it("prints an aligned page for people", async () => {
    const { code, stdout } = await run(["doctor"]);
    expect(code).toBe(0);
    const table = stdout.slice(0, stdout.indexOf("\n\n")).split("\n");
    const names = ["vl-reward", "Node", "processor", "libtorch", "devices", "precision", "memory", "vl-reward cache"];
    for (const name of [...names, "Hugging Face cache", "pictures", "video", "embedded model"]) {
      expect(
        table.filter((line) => line.startsWith(`${name}  `)),
        name,
      ).toHaveLength(1);
    }
    const width = "Hugging Face cache".length + 2;
    expect(table.filter((line) => line[width] === " " || line[width - 1] !== " ")).toEqual([]);
    expect(stdout).toMatch(/float32 \d+ GFLOP\/s, bfloat16 \d+ GFLOP\/s on/);
  });

  it("notes what is wrong but not needed, and ends with 0", async () => {
    process.env.HF_ENDPOINT = "not an address";
    const { code, stdout } = await run(["doctor", "--json"]).finally(() => delete process.env.HF_ENDPOINT);
    expect(code).toBe(0); // a model in a folder can be scored with
    expect(JSON.parse(stdout)).toMatchObject({
      problems: [{ problem: expect.stringContaining("HF_ENDPOINT"), needed: false }],
    });
  });

  it("works without the addon, says how to build it, and ends with 1", () => {
    const bare = mkdtempSync(join(tmpdir(), "bare-"));
    for (const name of ["dist", "models", "package.json"])
      cpSync(join(root, name), join(bare, name), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(bare, "node_modules"));
    const { status, stdout } = spawnSync(process.execPath, [join(bare, "dist/cli/main.js"), "doctor"], {
      encoding: "utf8",
    });
    rmSync(bare, { recursive: true });
    expect(status).toBe(1);
    expect(stdout).toMatch(/^libtorch +not available, see below$/m);
    expect(stdout).toMatch(/^pictures +sharp/m);
    expect(stdout).toMatch(/^Broken: libtorch and the native addon are not set up yet\..*`npx vl-reward setup`/m);
  });
});

/**
 * @file Which precision this machine computes faster in, measured once and remembered. Processors with bfloat16 units
 * (AVX-512 BF16, AMX) and GPUs multiply bfloat16 matrices 2 to 10 times as fast as float32 ones; others emulate them
 * and are 8 times slower.
 */
import { createHash, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { z } from "zod";
import { cacheFolder } from "../../files/cache-folder.ts";
import {
  type Device,
  Generator,
  libtorchVersion,
  linear,
  narrow,
  noGrad,
  randn,
  reshape,
  scope,
  threadCount,
  toDevice,
} from "../../torch/index.ts";

export type ComputeDtype = "float32" | "bfloat16";

const speeds = z.strictObject({ float32: z.number().positive(), bfloat16: z.number().positive() });

/** GFLOP/s of a matrix product, two operations for each multiply and add. */
export type MatmulSpeeds = Readonly<z.infer<typeof speeds>>;

const memory = z.strictObject({ format: z.literal(1), machines: z.record(z.string(), speeds) });

export interface DtypeChoice {
  readonly dtype: ComputeDtype;
  readonly speeds: MatmulSpeeds;
  /** Whether the speeds were measured by an earlier run. */
  readonly remembered: boolean;
}

/**
 * bfloat16 has to be this many times as fast to be chosen: float32 gives the reference's numbers, and the layers that are
 * no matrix products gain nothing.
 */
export const worthwhile = 1.5;

/**
 * -> what to compute in: what was asked for, or with "auto" what is faster on `device`.
 *
 * @param device one that `chooseDevice` returned
 */
export function chooseDtype(requested: ComputeDtype | "auto", device: Device): ComputeDtype {
  return requested === "auto" ? fasterDtype(device).dtype : requested;
}

/**
 * -> the faster precision on `device` and by how much. Measured where no earlier run has done so for this processor, number
 * of threads and libtorch; that takes half a second. A memory that cannot be read or written is no error: it is measured.
 */
export function fasterDtype(device: Device, folder: string = cacheFolder(process.env)): DtypeChoice {
  const file = join(folder, "matmul-speeds.json");
  const machine = fingerprint(device);
  const known = read(file);
  const earlier = known[machine];
  const found = earlier ?? measure(device);
  if (earlier === undefined) write(file, { ...known, [machine]: found });
  const dtype = found.bfloat16 >= worthwhile * found.float32 ? "bfloat16" : "float32";
  return { dtype, speeds: found, remembered: earlier !== undefined };
}

/** All that the speeds depend on and that is cheap to know. */
function fingerprint(device: Device): string {
  const [processor] = cpus();
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(text("/proc/cpuinfo") ?? "")?.[1] ?? "";
  // These two choose among the kernels that the processor could run.
  const limits = `${process.env.ATEN_CPU_CAPABILITY ?? ""} ${process.env.ONEDNN_MAX_CPU_ISA ?? ""}`.trim();
  const about = [
    `${processor?.model ?? "unknown processor"} (${process.arch})`,
    `features ${createHash("sha256").update(flags).digest("hex").slice(0, 8)}${limits && `, limited: ${limits}`}`,
    `${threadCount()} threads`,
    `libtorch ${libtorchVersion()}`,
    device === "cpu" ? device : [device, ...graphicsCards()].join(" of "),
  ];
  return about.join(", ");
}

/** The names that the driver has for its devices, if it says. */
function graphicsCards(): string[] {
  const folder = "/proc/driver/nvidia/gpus";
  let cards: string[] = [];
  try {
    cards = readdirSync(folder).sort();
  } catch {
    return []; // another kind of driver
  }
  const models = cards.map((card) => /^Model:\s*(.*)$/m.exec(text(join(folder, card, "information")) ?? "")?.[1]);
  return models.filter((model) => model !== undefined);
}

/**
 * The two in turns, so that what slows the machine for a while slows both. The first round only warms up, unless it was
 * too slow for a second one.
 */
function measure(device: Device): MatmulSpeeds {
  const [rows, inputs, outputs] = [512, 2048, 2048];
  const [rounds, patience] = [6, 400]; // milliseconds
  const repeats = device === "cpu" ? 1 : 64; // a GPU does one in less than its start takes
  const times: Record<ComputeDtype, number[]> = { float32: [], bfloat16: [] };
  noGrad(() =>
    scope(() => {
      const generator = new Generator(0);
      const x = randn([rows, inputs], generator);
      const weight = randn([outputs, inputs], generator);
      const operands = (["float32", "bfloat16"] as const).map((dtype) => ({
        dtype,
        x: toDevice(x, device, dtype),
        weight: toDevice(weight, device, dtype),
      }));
      const began = performance.now();
      for (let round = 0; round < rounds && (round === 0 || performance.now() - began < patience); round++) {
        for (const operand of operands) {
          const start = performance.now();
          scope(() => {
            for (let repeat = 1; repeat < repeats; repeat++) scope(() => linear(operand.x, operand.weight));
            const product = reshape(linear(operand.x, operand.weight), [-1]);
            narrow(product, 0, 0, 1).toTypedArray(); // waits for the device
          });
          times[operand.dtype].push((performance.now() - start) / repeats);
        }
      }
    }),
  );
  const operations = 2 * rows * inputs * outputs;
  const speed = (all: number[]): number =>
    Number((operations / 1e6 / median(all.length > 1 ? all.slice(1) : all)).toPrecision(4));
  return { float32: speed(times.float32), bfloat16: speed(times.bfloat16) };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function read(file: string): Record<string, MatmulSpeeds> {
  try {
    return memory.parse(JSON.parse(readFileSync(file, "utf8"))).machines;
  } catch {
    return {}; // absent, damaged, or of another version: measured again and replaced
  }
}

function write(file: string, machines: Record<string, MatmulSpeeds>): void {
  const partial = `${file}.partial-${randomUUID()}`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(partial, `${JSON.stringify({ format: 1, machines }, undefined, 2)}\n`);
    renameSync(partial, file);
  } catch {
    if (existsSync(partial)) rmSync(partial); // a cache that cannot be written costs the next run half a second
  }
}

function text(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

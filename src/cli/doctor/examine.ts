/**
 * @file What this machine has, what will be used, and what is wrong with it. Each part is looked at by itself, so that one that
 * is broken does not hide the others: this also works where setup has not run.
 */
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { memoryBudget } from "../../engine/machine/memory.ts";
import { fasterDtype } from "../../engine/machine/precision.ts";
import { systemMemory } from "../../engine/machine/system-memory.ts";
import { cacheFolder } from "../../files/cache-folder.ts";
import { hubSettings } from "../../hub/settings.ts";
import { loadFfmpeg } from "../../media/video-ffmpeg.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { placement } from "../../nn/index.ts";
import { chooseDevice, libtorchBuild, listDevices, threadCount } from "../../torch/index.ts";
import { embeddedModel } from "../embedded-model.ts";

/** What `--json` prints; a part that could not be looked at is null, and `problems` says why. */
export interface Report {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly cpu: { readonly model: string; readonly cores: number };
  readonly libtorch: Libtorch | null;
  readonly precision: Precision | null;
  readonly memory: { readonly total: number; readonly available: number; readonly budget: number }; // bytes
  readonly caches: readonly Cache[];
  readonly pictures: string | null; // the library and its version
  readonly video: boolean;
  readonly embedded_model: EmbeddedModel | null;
  readonly problems: readonly Problem[];
}

interface Libtorch {
  readonly version: string;
  readonly kind: "CPU" | "CUDA";
  readonly source: string;
  readonly folder: string;
  readonly threads: number;
  readonly devices: readonly string[];
}

/** What `--dtype auto` chooses on the device that `--device auto` chooses. */
interface Precision {
  readonly device: string;
  readonly auto: string;
  readonly gflops: { readonly float32: number; readonly bfloat16: number };
  readonly remembered: boolean;
}

interface Cache {
  readonly name: string;
  readonly folder: string;
  readonly bytes: number; // 0 where there is none yet
}

interface EmbeddedModel {
  readonly folder: string;
  readonly parameters: number;
  readonly untrained: boolean;
}

interface Problem {
  readonly problem: string;
  readonly remedy: string;
  /** Whether nothing can be scored before it is solved. */
  readonly needed: boolean;
}

/** @param version of this package */
export async function examine(version: string): Promise<Report> {
  const problems: Problem[] = [];
  const attempt = async <T>(
    look: () => T | Promise<T>,
    problem: (reason: string) => Problem | undefined,
  ): Promise<T | null> => {
    try {
      return await look();
    } catch (error) {
      const found = problem(error instanceof Error ? error.message : String(error));
      if (found) problems.push(found);
      return null;
    }
  };

  const libtorch = await attempt(lookAtLibtorch, (problem) => ({ problem, remedy: setupRemedy, needed: true }));
  const precision =
    libtorch &&
    (await attempt(lookAtPrecision, (reason) => ({
      problem: `A matrix product failed: ${reason}`,
      remedy: "Try --device cpu; if that fails too, remove the build folder and run `vl-reward setup`.",
      needed: true,
    })));
  const embedded =
    libtorch &&
    (await attempt(lookAtEmbeddedModel, (reason) => ({
      problem: `The embedded model does not load: ${reason}`,
      remedy: "Install the package again, or restore models/tiny.",
      needed: false,
    })));
  const pictures = await attempt(lookAtPictures, (reason) => ({
    problem: `The picture library sharp does not load: ${reason.split("\n")[0]}`,
    remedy: "Run `npm install` for this platform: without it no picture or video can be scored.",
    needed: true,
  }));
  const video = await attempt(loadFfmpeg, () => ({
    problem: "Video files cannot be decoded: the optional package node-av does not load.",
    remedy: "If you score videos: npm install --ignore-scripts node-av. Lists of frames work without it.",
    needed: false,
  }));
  const caches = await attempt(lookAtCaches, (reason) => ({
    problem: `The caches cannot be looked at: ${reason}`,
    remedy: "Mend the folder or the variable that it names; until then no model can be downloaded.",
    needed: false,
  }));

  if (libtorch?.kind === "CPU" && existsSync("/dev/nvidiactl")) {
    problems.push({
      problem: "There is an NVIDIA driver, but this libtorch was built without CUDA: scores are computed on the CPU.",
      remedy: "Name a torch with CUDA in VL_REWARD_TORCH and run `vl-reward setup`.",
      needed: false,
    });
  }
  const memory = systemMemory();
  return {
    version,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cpu: { model: cpus()[0]?.model.trim() ?? "unknown", cores: availableParallelism() },
    libtorch,
    precision,
    memory: { ...memory, budget: memoryBudget(undefined, memory) },
    caches: caches ?? [],
    pictures,
    video: video !== null,
    embedded_model: embedded,
    problems,
  };
}

const setupRemedy = "Setup finds or fetches libtorch, builds the addon, and says what it lacks.";

function lookAtLibtorch(): Libtorch {
  const { version, cuda, source, folder } = libtorchBuild();
  const kind = cuda ? "CUDA" : "CPU";
  return { version, kind, source, folder, threads: threadCount(), devices: listDevices() };
}

function lookAtPrecision(): Precision {
  const device = chooseDevice("auto");
  const { dtype, speeds, remembered } = fasterDtype(device);
  return { device, auto: dtype, gflops: speeds, remembered };
}

function lookAtEmbeddedModel(): EmbeddedModel {
  const config: unknown = JSON.parse(readFileSync(join(embeddedModel, "config.json"), "utf8"));
  const untrained = typeof config === "object" && config !== null && "untrained" in config && config.untrained === true;
  const model = RewardModel.load(embeddedModel, placement("cpu", "float32", "mapped"));
  const parameters = model.parameterCount;
  model.dispose();
  return { folder: embeddedModel, parameters, untrained };
}

async function lookAtPictures(): Promise<string> {
  const { versions } = (await import("sharp")).default;
  return `sharp ${versions.sharp} with libvips ${versions.vips}`;
}

async function lookAtCaches(): Promise<Cache[]> {
  const own = cacheFolder(process.env);
  const hub = (await hubSettings(process.env)).cacheFolder;
  return [
    { name: "vl-reward", folder: own, bytes: sizeOf(own) },
    { name: "Hugging Face", folder: hub, bytes: sizeOf(hub) },
  ];
}

/** Bytes of all files below a folder; links count as links, for the hub's cache names each file twice. */
function sizeOf(folder: string): number {
  if (!existsSync(folder)) return 0;
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    bytes += lstatSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0; // gone meanwhile
  }
  return bytes;
}

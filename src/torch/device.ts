/** @file Threads and devices. CUDA's libraries take 260 MB and half a second: they load only where a device is there. */
import { existsSync } from "node:fs";
import path from "node:path";
import { VlRewardError } from "../errors.ts";
import { type NativeBuild, native, nativeBuild, translated } from "./native.ts";
import type { Device } from "./tensor.ts";

let cudaDevices: number | undefined;

/** The number of usable CUDA devices; loads CUDA's libraries at the first call, if a driver and they are there. */
function countCudaDevices(): number {
  if (cudaDevices === undefined) {
    const library = path.join(nativeBuild().torch.folder, "lib", "libtorch_cuda.so");
    const driver = existsSync("/dev/nvidiactl") || existsSync("/proc/driver/nvidia/version");
    cudaDevices = driver && existsSync(library) ? translated(() => native().loadCuda(library)) : 0;
  }
  return cudaDevices;
}

/**
 * "auto", "cpu", "cuda" or "cuda:N" -> a device that is there. "auto" prefers CUDA. Throws `device_unavailable` for one
 * that is not there, `usage` for another word. To be called before the first backward pass: libtorch counts the devices
 * that its gradients may need then, and never again.
 */
export function chooseDevice(wanted: string): Device {
  if (wanted === "cpu") return "cpu";
  if (wanted === "auto") return countCudaDevices() > 0 ? "cuda:0" : "cpu";
  const match = /^cuda(?::(\d+))?$/.exec(wanted);
  if (!match) throw new VlRewardError("usage", `Unknown device "${wanted}": expected auto, cpu, cuda or cuda:N.`);
  const index = Number(match[1] ?? 0);
  const count = countCudaDevices();
  if (index < count) return `cuda:${index}`;
  throw new VlRewardError(
    "device_unavailable",
    count === 0
      ? `No CUDA device for "${wanted}": libtorch ${nativeBuild().torch.version} sees no NVIDIA driver or was built ` +
          "without CUDA. Use --device cpu, or install the driver and run setup again."
      : `No device "${wanted}": there are ${count}, cuda:0 to cuda:${count - 1}.`,
  );
}

/** Memory of a CUDA device in bytes. What libtorch has taken and keeps for later counts as taken. */
export function deviceMemory(device: Device): { free: number; total: number } {
  const [free, total] = translated(() => native().deviceMemory(device));
  return { free, total };
}

/**
 * How many threads an operator may use that is called on this JavaScript thread. One that has set none has the number that
 * was set last on any.
 */
export function threadCount(): number {
  return native().threads();
}

/** How many threads libtorch takes by itself: one per core, or OMP_NUM_THREADS. */
export function standardThreadCount(): number {
  return native().standardThreads();
}

/** For operators called on this JavaScript thread. Throws `operator_failed` for a count below one. */
export function setThreadCount(count: number): void {
  translated(() => native().setThreads(count));
}

/** The version of the libtorch that is loaded, e.g. "2.13.0+cu130". */
export function libtorchVersion(): string {
  return nativeBuild().torch.version;
}

/** Which libtorch the addon was built against: its kind and where setup found it. Throws `native_unavailable`. */
export function libtorchBuild(): NativeBuild["torch"] {
  return nativeBuild().torch;
}

/**
 * "cuda:0,cuda:1" -> the words for chooseDevice. Throws `usage` where "auto" is one of several, or a CUDA device is there
 * twice; whether they are there is not looked at.
 */
export function deviceWords(list: string): string[] {
  const words = list.split(",").map((word) => word.trim());
  const places = words.map((word) => (word === "cuda" ? "cuda:0" : word));
  const twice = places.find((place, index) => place.startsWith("cuda") && places.indexOf(place) !== index);
  if (twice !== undefined) throw new VlRewardError("usage", `The devices "${list}" name ${twice} twice.`);
  if (words.length > 1 && words.includes("auto")) {
    throw new VlRewardError("usage", `The devices "${list}" cannot hold auto: it chooses one by itself.`);
  }
  return words;
}

/** Every device that `chooseDevice` can choose. */
export function listDevices(): Device[] {
  return ["cpu", ...Array.from({ length: countCudaDevices() }, (_, index) => `cuda:${index}`)];
}

/**
 * Lets the process keep what it frees, for large tensors too: training makes and frees gigabytes in every step, and memory
 * fresh from the system costs more than the arithmetic on it. To be called before threads are started. Linux with glibc only.
 */
export function keepMemory(): void {
  native().keepMemory();
}

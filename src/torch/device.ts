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

/** How many threads an operator may use; global to the process. */
export function threadCount(): number {
  return native().threads();
}

/** Throws `operator_failed` for a count below one. */
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

/** Every device that `chooseDevice` can choose. */
export function listDevices(): Device[] {
  return ["cpu", ...Array.from({ length: countCudaDevices() }, (_, index) => `cuda:${index}`)];
}

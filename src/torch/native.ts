/**
 * @file The only importer of the native addon: finds it, loads it once per thread and gives its functions types.
 * Setup (setup/addon.mjs) puts the addon in place and says in native.json beside it where it and libtorch are.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { VlRewardError } from "../errors.ts";
import { cacheFolder } from "../files/cache-folder.ts";

/** A tensor or a generator as the addon names it. */
export type Handle = number;

export type TypedArray =
  | Float32Array
  | Float64Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** What native/addon.cc exports; comments there say what each does. */
export interface NativeAddon {
  resolve(name: string, overload: string): number;
  schema(name: string, overload: string): string;
  call(operator: number, ...values: unknown[]): unknown;
  fromBytes(source: TypedArray, shape: readonly number[], dtype: string, device: string): Handle;
  readInto(tensor: Handle, target: TypedArray): void;
  mapFile(path: string, offsets: number[], shapes: (readonly number[])[], dtypes: string[]): Handle[];
  shape(tensor: Handle): number[];
  dtype(tensor: Handle): string;
  device(tensor: Handle): string;
  free(tensors: Handle[]): void;
  liveHandles(): number;
  liveBytes(): number;
  createGenerator(seed: number): Handle;
  freeGenerator(generator: Handle): void;
  setRequiresGrad(tensor: Handle, on: boolean): void;
  requiresGrad(tensor: Handle): boolean;
  gradient(tensor: Handle): Handle | null;
  clearGradient(tensor: Handle): void;
  backward(roots: Handle[], gradients: Handle[] | undefined, keepGraph: boolean): void;
  setGradEnabled(on: boolean): boolean;
  threads(): number;
  setThreads(count: number): void;
  keepMemory(): void;
  standardThreads(): number;
  loadCuda(path: string): number;
  deviceMemory(device: string): [free: number, total: number];
  // native/process-group.cc; times are in milliseconds
  openStore(host: string, port: number, serve: boolean, timeout: number, prefix: string): Handle;
  localStore(): Handle;
  closeStore(store: Handle): void;
  storeSet(store: Handle, key: string, value: string): void;
  storeGet(store: Handle, key: string): string | null;
  storeAdd(store: Handle, key: string, amount: number): number;
  storeWait(store: Handle, keys: string[], timeout: number): string[];
  createGroup(
    name: string,
    backend: "gloo" | "nccl",
    store: Handle,
    rank: number,
    size: number,
    timeout: number,
    address: string,
  ): void;
  setGroupTimeout(name: string, timeout: number): void;
  destroyGroup(name: string): void;
  loadNccl(path: string): void;
  endProcess(code: number): never;
}

/** What setup wrote: which libtorch the addon was built against, and where it came from. */
export interface NativeBuild {
  readonly addon: string;
  /** The library for exchanges between GPUs, where CUDA's headers were there to make it. */
  readonly nccl?: string;
  readonly torch: {
    readonly folder: string;
    readonly version: string;
    readonly source: string;
    /** Whether it was built for CUDA and CUDA's libraries came with it. */
    readonly cuda: boolean;
  };
}

const root = resolve(fileURLToPath(new URL("../../", import.meta.url)));

/** In a clone beside the sources; of an installed package in the per-user cache. setup/place.mjs has the same rule. */
function buildRecords(): string[] {
  const name = createHash("sha256").update(root).digest("hex").slice(0, 16);
  return [join(root, "build"), join(cacheFolder(process.env), "installed", name)].map((folder) =>
    join(folder, "native.json"),
  );
}

/** Throws `native_unavailable` where setup has not run. */
export function nativeBuild(): NativeBuild {
  for (const file of buildRecords()) {
    const build = readRecord(file);
    if (build !== undefined) return build;
  }
  throw new VlRewardError(
    "native_unavailable",
    "libtorch and the native addon are not set up yet. Run `npx vl-reward setup` once, or `await setup()` from this package.",
  );
}

function readRecord(file: string): NativeBuild | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as NativeBuild;
  } catch {
    return undefined; // absent, or damaged, which setup mends as well
  }
}

function load(): NativeAddon {
  const { addon, torch } = nativeBuild();
  try {
    return createRequire(import.meta.url)(addon) as NativeAddon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VlRewardError(
      "native_unavailable",
      `The native addon does not load with libtorch ${torch.version} in ${torch.folder}: ${reason}. ` +
        "If libtorch has moved, run `npx vl-reward setup`.",
      { cause },
    );
  }
}

let loaded: NativeAddon | undefined;

export function native(): NativeAddon {
  loaded ??= load();
  return loaded;
}

/** Runs `body`, and gives an error of libtorch this package's type. The addon's message names operator and shapes. */
export function translated<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof VlRewardError) throw error;
    throw new VlRewardError("operator_failed", error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  }
}

/**
 * @file Several processes that work on one thing: they meet, exchange tensors in collectives that all of them call in
 * the same order, and notice when one is lost. Backends are PyTorch's: gloo for tensors in main memory, NCCL for those on
 * GPUs. Every call blocks its thread until the others have come, so it belongs on a thread of its own.
 */
import { VlRewardError } from "../../errors.ts";
import { native, nativeBuild, translated } from "../native.ts";
import { allGatherIntoTensor, allReduce, clone, reduceScatterTensor, waitTensor } from "../ops.ts";
import { scope, type Tensor, tensorFrom } from "../tensor.ts";
import type { ProcessEnvironment } from "./process-environment.ts";
import { firstLine, Store, type StorePlace } from "./store.ts";

export type Backend = "gloo" | "nccl";
export type Reduction = "sum" | "max" | "min";

export interface GroupOptions extends ProcessEnvironment {
  readonly backend: Backend;
  /** How long to wait at the start for the other processes. */
  readonly joinSeconds: number;
  /** How long a collective may take, the wait for the slowest rank included. A rank that died is noticed long before. */
  readonly timeoutSeconds: number;
}

/** How long to find out who is lost, once a collective has failed. */
const diagnosisSeconds = 3;

/** The store's keys. */
const here = (rank: number) => `here/${rank}`;
const size = (rank: number) => `size/${rank}`;
const stopped = (rank: number) => `stopped/${rank}`;
const diagnosed = (rank: number) => `diagnosed/${rank}`;
export const leaving = (rank: number) => `leaving/${rank}`;
export const beat = (rank: number) => `beat/${rank}`;

let groups = 0;

export class ProcessGroup implements Disposable {
  readonly rank: number;
  readonly worldSize: number;
  /** Shared by all ranks; a world of one has a store too. */
  readonly store: Store;
  readonly #name: string | undefined; // none in a world of one on a CPU
  readonly #options: GroupOptions;
  #closed = false;
  #broken = false;

  private constructor(options: GroupOptions, store: Store, name: string | undefined) {
    this.rank = options.rank;
    this.worldSize = options.worldSize;
    this.store = store;
    this.#options = options;
    this.#name = name;
  }

  /**
   * Waits until all ranks are there. Throws `distributed_failed` with the ranks that did not come, or when two processes
   * have one rank or do not agree on their number. NCCL needs `chooseDevice("cuda")` before.
   */
  static connect(options: GroupOptions): ProcessGroup {
    if (options.backend === "nccl") loadNccl();
    const store =
      options.worldSize === 1
        ? Store.local()
        : Store.connect(storePlace(options, keepsStore(options)), options.joinSeconds);
    try {
      if (options.worldSize > 1) meet(store, options);
      return new ProcessGroup(options, store, createGroup(store, options));
    } catch (error) {
      store.close();
      throw error;
    }
  }

  /** Every rank gets the elementwise sum (or largest, smallest) over all ranks. bfloat16 is summed in bfloat16. */
  allReduce(tensor: Tensor, reduction: Reduction = "sum"): Tensor {
    return this.#exchange("an all-reduce", tensor, (name) => allReduce(tensor, reduction, name));
  }

  /** [n, ...] of each rank -> [worldSize * n, ...], in the order of ranks. All have the same shape. */
  allGather(tensor: Tensor): Tensor {
    return this.#exchange("an all-gather", tensor, (name) => allGatherIntoTensor(tensor, this.worldSize, name));
  }

  /** [worldSize * n, ...] of each rank -> the rank's own [n, ...] of the sum over all ranks. */
  reduceScatter(tensor: Tensor, reduction: Reduction = "sum"): Tensor {
    return this.#exchange("a reduce-scatter", tensor, (name) =>
      reduceScatterTensor(tensor, reduction, this.worldSize, name),
    );
  }

  /** Returns when all ranks have come here; `timeoutSeconds` stands in for the group's own. */
  barrier(timeoutSeconds = this.#options.timeoutSeconds): void {
    if (this.worldSize === 1) return;
    this.#setTimeout(timeoutSeconds);
    try {
      scope(() => void this.allReduce(tensorFrom(Float32Array.of(0), [1])));
    } finally {
      this.#setTimeout(this.#options.timeoutSeconds);
    }
  }

  /** Tells the others why this rank stops: it stands in the error that they get. To be called before its process ends. */
  announceStop(reason: string): void {
    try {
      this.store.set(stopped(this.rank), reason);
    } catch {
      // The store is gone, and with it the rank that kept it: there is nobody to tell.
    }
  }

  /**
   * Leaves the group, after the last collective. The rank that keeps the store waits until the others have left, so
   * that none of them finds it gone; they get `joinSeconds` for that.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.#broken) this.#disconnect();
      if (this.worldSize > 1 && !this.#broken) {
        this.store.set(leaving(this.rank), "");
        if (keepsStore(this.#options)) this.store.wait(this.#others().map(leaving), this.#options.joinSeconds);
      }
    } finally {
      this.store.close();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #exchange(doing: string, tensor: Tensor, start: (name: string) => Tensor): Tensor {
    const name = this.#name;
    if (name === undefined) return clone(tensor);
    if (this.#broken || this.#closed) {
      throw new VlRewardError("distributed_failed", `Rank ${this.rank}, in ${doing}: its group has ended.`);
    }
    return scope(() => {
      const pending = start(name); // errors here are those of the arguments
      try {
        return waitTensor(pending);
      } catch (cause) {
        throw this.#failed(doing, cause);
      }
    });
  }

  #disconnect(): void {
    const name = this.#name;
    if (name !== undefined) translated(() => native().destroyGroup(name));
  }

  #setTimeout(seconds: number): void {
    const name = this.#name;
    if (name !== undefined && !this.#broken) translated(() => native().setGroupTimeout(name, seconds * 1000));
  }

  #others(): number[] {
    return everyRank(this.worldSize).filter((rank) => rank !== this.rank);
  }

  /**
   * A collective fails on all ranks when one is lost, and the connection that broke does not say whose it was. So every
   * rank tells in the store that it is still there, and looks who does not. A rank that computes tells nothing either,
   * but its heart beats.
   */
  #failed(doing: string, cause: unknown): VlRewardError {
    const failed = (message: string) =>
      new VlRewardError("distributed_failed", `Rank ${this.rank} of ${this.worldSize}, in ${doing}: ${message}`, {
        cause,
      });
    const reason = firstLine(cause).replace(/^.*?\): (\[\S+\] )?/, "");
    this.#broken = true;
    try {
      this.#disconnect(); // a rank that waits for us, and not for the one that is lost, has to notice too
      const others = this.#others();
      const before = others.map((rank) => this.store.add(beat(rank), 0));
      if (this.store.get(stopped(this.rank)) === undefined) this.store.set(stopped(this.rank), "");
      const missing = new Set(this.store.wait(others.map(stopped), diagnosisSeconds));
      const silent = others.filter(
        (rank, index) => missing.has(stopped(rank)) && this.store.add(beat(rank), 0) === before[index],
      );
      const reasons = others.flatMap((rank) => {
        const told = this.store.get(stopped(rank));
        return told ? [`rank ${rank} stopped: ${told}`] : [];
      });
      this.store.set(diagnosed(this.rank), "");
      const present = others.filter((rank) => !silent.includes(rank));
      if (keepsStore(this.#options)) this.store.wait(present.map(diagnosed), diagnosisSeconds);
      if (reasons.length > 0) return failed(`${reasons.join("; ")}.`);
      if (silent.length === 0) return failed(`it failed though all are there: ${reason}.`);
      return failed(`no sign of ${listed(silent)}: ended, or not to be reached (${reason}).`);
    } catch {
      const keeper = this.#options.launcherStore ? "the launcher" : "rank 0";
      return failed(`no sign of ${keeper}, which keeps the store: ended, or not to be reached (${reason}).`);
    }
  }
}

/** Where the store of these processes is, for one who `serve`s it or its clients. */
export function storePlace(options: ProcessEnvironment, serve: boolean): StorePlace {
  return { host: options.masterAddress, port: options.masterPort, serve, prefix: `vl-reward/${options.attempt}` };
}

const keepsStore = (options: ProcessEnvironment) => options.rank === 0 && !options.launcherStore;

/**
 * Before the backends connect, whose errors do not say which rank is missing or that two have the same. Rank 0 looks at
 * all, and its verdict, empty when all is well, goes to everyone.
 */
function meet(store: Store, options: GroupOptions): void {
  const { rank, worldSize, joinSeconds } = options;
  const failed = (message: string) => new VlRewardError("distributed_failed", message);
  if (store.add(here(rank), 1) > 1) throw failed(`Two processes of this run have RANK=${rank}.`);
  store.set(size(rank), String(worldSize));
  const absent = (seconds: number) => {
    const missing = new Set(store.wait(everyRank(worldSize).map(size), seconds));
    return everyRank(worldSize).filter((other) => missing.has(size(other)));
  };
  if (rank === 0) {
    const missing = absent(joinSeconds);
    const verdict = complaint(store, worldSize, missing, joinSeconds);
    store.set("verdict", verdict);
    if (verdict === "") return;
    const present = everyRank(worldSize).filter((other) => other > 0 && !missing.includes(other));
    if (keepsStore(options)) store.wait(present.map(diagnosed), diagnosisSeconds);
    throw failed(verdict);
  }
  const alone = store.wait(["verdict"], joinSeconds).length > 0;
  const verdict = alone ? complaint(store, worldSize, absent(0), joinSeconds) : store.get("verdict");
  if (verdict === "") return;
  store.set(diagnosed(rank), "");
  throw failed(verdict ?? "");
}

function complaint(store: Store, worldSize: number, missing: readonly number[], waited: number): string {
  for (const rank of everyRank(worldSize)) {
    if (missing.includes(rank)) continue;
    if (store.add(here(rank), 0) > 1) return `Two processes of this run have RANK=${rank}.`;
    const said = store.get(size(rank));
    if (said !== String(worldSize)) {
      return `Rank ${rank} was started with WORLD_SIZE=${said}, another with ${worldSize}: set the same for all.`;
    }
  }
  if (missing.length === 0) return "";
  return (
    `Waited ${waited} s in vain for ${listed(missing)} of ${worldSize}. Was it started, with the same MASTER_ADDR, ` +
    "MASTER_PORT and WORLD_SIZE, and what does it say?"
  );
}

/** -> the name that the operators know it by; none is needed for a world of one on a CPU */
function createGroup(store: Store, options: GroupOptions): string | undefined {
  const { backend, rank, worldSize, joinSeconds, timeoutSeconds, masterAddress } = options;
  if (worldSize === 1 && backend === "gloo") return undefined;
  const name = `group-${groups++}`;
  // Where all are on one machine, no other has to see them. Else gloo follows GLOO_SOCKET_IFNAME or the host's name.
  const address = /^(localhost|127\.\d+\.\d+\.\d+)$/.test(masterAddress) ? "127.0.0.1" : "";
  try {
    native().createGroup(name, backend, store.handle, rank, worldSize, joinSeconds * 1000, address);
    native().setGroupTimeout(name, timeoutSeconds * 1000);
    return name;
  } catch (cause) {
    throw new VlRewardError(
      "distributed_failed",
      `Rank ${rank} of ${worldSize} cannot connect to the others by ${backend}: ${firstLine(cause)}. ` +
        "Where machines have several networks, name the one to use in GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME.",
      { cause },
    );
  }
}

function loadNccl(): void {
  const { nccl, torch } = nativeBuild();
  if (nccl === undefined) {
    throw new VlRewardError(
      "device_unavailable",
      `There is no NCCL for libtorch ${torch.version}: it is built where libtorch is one for CUDA and the headers of CUDA's ` +
        "toolkit and NCCL are there. Set CUDA_HOME to the toolkit and run setup again, or use gloo.",
    );
  }
  translated(() => native().loadNccl(nccl));
}

const everyRank = (worldSize: number) => Array.from({ length: worldSize }, (_, rank) => rank);

/** [2] -> "rank 2", [1, 2] -> "ranks 1, 2" */
const listed = (ranks: readonly number[]) => `${ranks.length === 1 ? "rank" : "ranks"} ${ranks.join(", ")}`;

/**
 * @file The synchronous core of the engine: prepared groups in, what readers read off their hidden states out. Every prompt and
 * picture is computed once, all tokens of a stream run through the linear layers side by side, and what was computed is kept
 * for later passes within a number of bytes. It knows nothing of files, threads or order.
 *
 * In float32 on the CPU an answer has the same bits whatever company, order, budget, cache or number of threads it is
 * computed with (src/nn/attention/packed-attention.ts, src/nn/activations.ts and src/nn/rows.ts say how).
 */
import { cpus } from "node:os";
import { type Shape, unrecorded } from "../../models/backbone.ts";
import { Features } from "../../models/features.ts";
import type { GroupPrompt } from "../../models/prompt.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { type KeyValues, type PackedGroup, queryBlock } from "../../nn/attention/packed-attention.ts";
import { placement } from "../../nn/index.ts";
import {
  chooseDevice,
  clone,
  type Device,
  deviceMemory,
  keep,
  libtorchVersion,
  noGrad,
  scope,
  setThreadCount,
  standardThreadCount,
  traced,
} from "../../torch/index.ts";
import { memoryBudget, planDeviceMemory, planMemory } from "../machine/memory.ts";
import { type ComputeDtype, chooseDtype } from "../machine/precision.ts";
import { threadsFor } from "../machine/thread-count.ts";
import { type Answers, Questions } from "../read/questions.ts";
import type { ReadAnswer, ReadRequest } from "../read/reader.ts";
import { ByteCache, type CacheStats } from "./byte-cache.ts";
import { FeatureStore, type FeatureStoreStats } from "./feature-store.ts";
import { type FeatureRows, layOut } from "./layout.ts";
import { PictureFeatures } from "./picture-features.ts";
import { type BranchWork, mergeGroups, type Piece, type PromptWork, planStreams } from "./plan.ts";
import { disposePrefix, type Prefix, PromptStates } from "./prompt-states.ts";
import { forwardGroups, type Hidden } from "./stream.ts";

export interface ComputeOptions {
  /** A checkpoint folder, or an adapter's. */
  readonly folder: string;
  /** Of an adapter, the folder of the model that it belongs to. */
  readonly base?: string;
  /** What the arithmetic runs in, or auto: what this machine is faster in. The head always runs in float32. */
  readonly dtype: ComputeDtype | "auto";
  /** auto, cpu, cuda or cuda:N. */
  readonly device: string;
  /**
   * Bytes that may be held, weights included: by all models on the CPU together, on CUDA by each device. The three below
   * follow from it. Default: most of what is free.
   */
  readonly memory?: number;
  /** How many models of this process compute on the CPU at once, this one included: they share its threads and memory. */
  readonly sharers?: number;
  /**
   * Tokens that one stream holds at most; a single long answer may exceed it. A step of the vision tower holds as many patches
   * as become so many tokens; a single large picture may exceed it.
   */
  readonly tokenBudget?: number;
  /** Bytes for features of pictures and videos. */
  readonly featureCacheBytes?: number;
  /** Bytes for keys and values of prompts. */
  readonly prefixCacheBytes?: number;
  /** Where features are kept for later runs. */
  readonly featureFolder?: string;
}

/** What the caches take at most unless a memory budget was asked for: more pays only where prompts come again and again. */
const modest = { featureCacheBytes: 2 ** 29, prefixCacheBytes: 2 ** 31 };

type Budgets = Required<Pick<ComputeOptions, "tokenBudget" | "featureCacheBytes" | "prefixCacheBytes">>;

function budgets(options: ComputeOptions, model: RewardModel, dtype: ComputeDtype): Budgets {
  const { shape } = model.backbone;
  const plan =
    model.device === "cpu"
      ? planMemory(options.memory ?? memoryBudget(undefined), model.bytes, shape, dtype, options.sharers)
      : planDeviceMemory(options.memory, deviceMemory(model.device).free, model.bytes, shape, dtype);
  const most = options.memory === undefined ? modest : { featureCacheBytes: Infinity, prefixCacheBytes: Infinity };
  return {
    tokenBudget: options.tokenBudget ?? plan.tokens,
    featureCacheBytes: options.featureCacheBytes ?? Math.min(plan.featureCache, most.featureCacheBytes),
    prefixCacheBytes: options.prefixCacheBytes ?? Math.min(plan.prefixCache, most.prefixCacheBytes),
  };
}

export interface PassCaches {
  readonly features: CacheStats;
  readonly prefixes: CacheStats;
  readonly stored?: FeatureStoreStats;
}

/** A group, and what is to be read of each of its answers. */
export interface Asked {
  readonly prompt: GroupPrompt;
  readonly read: readonly ReadRequest[];
}

export class PassRunner {
  readonly tokenBudget: number;
  readonly #model: RewardModel;
  readonly #dtype: ComputeDtype;
  readonly #features: PictureFeatures | undefined;
  readonly #prefixes: ByteCache<Prefix>;
  readonly #store: FeatureStore | undefined;

  private constructor(
    model: RewardModel,
    dtype: ComputeDtype,
    { tokenBudget, featureCacheBytes, prefixCacheBytes }: Budgets,
    featureFolder?: string,
  ) {
    this.#model = model;
    this.#dtype = dtype;
    this.tokenBudget = tokenBudget;
    this.#prefixes = new ByteCache(prefixCacheBytes, disposePrefix);
    const { vision } = model.backbone;
    if (!vision) return;
    const deviceKind = model.device.replace(/:\d+$/, ""); // features are shared between the devices of one machine
    this.#store =
      featureFolder === undefined
        ? undefined
        : new FeatureStore(featureFolder, {
            weights: model.visionFingerprint,
            dtype,
            arithmetic: JSON.stringify([libtorchVersion(), deviceKind, cpus()[0]?.model, vision.identity]),
          });
    this.#features = new PictureFeatures(vision, model.device, {
      upTo: "merger",
      patchBudget: (model.backbone.shape.vision?.patchesPerToken ?? 1) * tokenBudget,
      cacheBytes: featureCacheBytes,
      store: this.#store,
    });
  }

  /**
   * Sets the number of threads that operators called on this JavaScript thread use.
   *
   * Throws the codes of a model that cannot be loaded, `device_unavailable`, or `output_unwritable` for the folder.
   */
  static load(options: ComputeOptions): PassRunner {
    const device = chooseDevice(options.device);
    const threads = Math.max(1, Math.floor(standardThreadCount() / (options.sharers ?? 1)));
    setThreadCount(threads); // a model on another JavaScript thread may have set fewer, for a small one
    const dtype = chooseDtype(options.dtype, device);
    const model = RewardModel.load(options.folder, placement(device, dtype, "mapped"), undefined, options.base);
    setThreadCount(threadsFor(model.backbone.shape, threads));
    try {
      return new PassRunner(model, dtype, budgets(options, model, dtype), options.featureFolder);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /** Where the arithmetic runs, and in what. */
  get place(): { device: Device; dtype: ComputeDtype } {
    return { device: this.#model.device, dtype: this.#dtype };
  }

  get shape(): Shape {
    return this.#model.backbone.shape;
  }

  get parameters(): number {
    return this.#model.parameterCount;
  }

  /** What a person should know of how the checkpoint was read. */
  get notes(): readonly string[] {
    return this.#model.notes;
  }

  get stats(): PassCaches {
    return {
      features: this.#features?.stats ?? { hits: 0, misses: 0, entries: 0, bytes: 0 },
      prefixes: this.#prefixes.stats,
      ...(this.#store && { stored: this.#store.stats }),
    };
  }

  /** A whole pass that reads rewards -> for each group those of its branches. */
  score(groups: readonly GroupPrompt[]): number[][] {
    const asked = groups.map((prompt): Asked => ({ prompt, read: [{ kind: "reward" }] }));
    return this.answer(asked).map((answers) => answers.map(([reward]) => Number(reward)));
  }

  /** A whole pass. Throws as its readers do. */
  answer(asked: readonly Asked[]): Answers[] {
    const pass = this.run(asked);
    for (let next = pass.next(); ; next = pass.next()) if (next.done) return next.value;
  }

  /**
   * One pass, with a break after each of its steps: other passes may run before it goes on, or it may be left there by
   * `return()`. Groups with one prompt share its computation.
   *
   * @param onRead is told how many answers were read off at once, equal ones counted for each who asked
   * @returns for each group what was asked of its branches
   */
  *run(asked: readonly Asked[], onRead: (answers: number) => void = () => {}): Generator<void, Answers[]> {
    const answers = asked.map(({ prompt, read }) => prompt.branches.map(() => new Array<ReadAnswer>(read.length)));
    const questions = new Questions(
      asked.map(({ read }) => read),
      this.#model,
    );
    const prompts = mergeGroups(asked.map(({ prompt }) => prompt));
    const kinds = new Map(prompts.map((work) => [work, questions.rowsFor(work)]));
    const states = new PromptStates(this.#prefixes, prompts, (work) => kinds.get(work) !== "conversation");
    const pictures = this.#features?.open();
    try {
      const pieces = prompts.flatMap((work) => [...(states.isKnown(work) ? [] : [work.prefix]), ...work.branches]);
      const features = (yield* pictures?.see(pieces.flatMap(({ visuals }) => visuals)) ?? []) ?? new Map();
      const computed = (work: PromptWork): number => (states.isKnown(work) ? work.prefix.span.ids.length : 0);
      const streams = planStreams(prompts, computed, this.tokenBudget, queryBlock);
      for (const [number, stream] of streams.entries()) {
        const read = stream.every(({ work }) => kinds.get(work) === "end") ? "ends" : "all";
        traced("decoder", () =>
          this.#runStream(stream, features, states, read, (hidden, branches) => {
            questions.read(hidden, branches, answers);
            onRead(branches.reduce((sum, { readers }) => sum + readers.length, 0));
          }),
        );
        if (number < streams.length - 1) yield;
      }
      states.settle();
    } finally {
      states.end();
      pictures?.settle();
    }
    return answers;
  }

  dispose(): void {
    this.#features?.dispose();
    this.#prefixes.clear();
    this.#model.dispose();
  }

  #runStream(
    pieces: readonly Piece[],
    features: ReadonlyMap<string, Features>,
    states: PromptStates,
    read: "ends" | "all",
    answer: (hidden: Hidden, branches: readonly BranchWork[]) => void,
  ): void {
    noGrad(() =>
      scope(() => {
        const stream = layOut(pieces, (work) => states.before(work));
        const prefixes = new Map<PackedGroup, KeyValues[]>();
        const own = new Set(stream.groups.slice(0, pieces.length)); // without padding
        const listen = (group: PackedGroup, layer: number, prefix: KeyValues): void => {
          if (group.prefix.length === 0 || !own.has(group)) return; // nothing new, or padding
          const kept = prefixes.get(group) ?? [];
          kept[layer] = { keys: keep(clone(prefix.keys)), values: keep(clone(prefix.values)) };
          prefixes.set(group, kept);
        };
        const placed = placedFeatures(stream.features, features);
        const hidden = forwardGroups(this.#model.backbone, this.#model, stream, placed, unrecorded, read, listen);
        for (const [index, { work }] of pieces.entries()) {
          const group = stream.groups[index];
          const prefix = group && prefixes.get(group);
          if (prefix) states.take(work, prefix);
        }
        const works = pieces.flatMap(({ work, branches }) => branches.map(() => work));
        answer(
          states.withPrompts(hidden, works),
          pieces.flatMap(({ branches }) => branches),
        );
        for (const [index, { work, branches }] of pieces.entries()) {
          const group = stream.groups[index];
          if (hidden.all && group && branches.length === 0) states.see(work, hidden.all, group.prefix);
        }
      }),
    );
  }
}

/** -> the features that stand in a stream, one below the other; undefined where there are none */
function placedFeatures(rows: readonly FeatureRows[], features: ReadonlyMap<string, Features>): Features | undefined {
  const parts = rows.map(({ visuals, from, until }) => {
    const all = Features.joined(visuals.map(({ key }) => features.get(key)).filter((one) => one !== undefined));
    return all?.narrow(from, until - from);
  });
  return Features.joined(parts.filter((part) => part !== undefined));
}

/**
 * @file The synchronous core of the engine: prepared groups in, one reward for each answer out. Every prompt and picture is
 * computed once, all tokens of a pass run through the linear layers side by side, and what was computed is kept for later
 * passes within a number of bytes. It knows nothing of files, threads or order.
 *
 * In float32 on the CPU a score has the same bits whatever company, order, budget, cache or number of threads it is
 * computed with (src/nn/attention/packed-attention.ts, src/nn/activations.ts and src/nn/rows.ts say how).
 */
import { cpus } from "node:os";
import type { GroupPrompt } from "../../models/qwen2_5_vl/processor.ts";
import { RewardModel } from "../../models/reward-model.ts";
import { type KeyValues, type PackedGroup, queryBlock } from "../../nn/attention/packed-attention.ts";
import { placement } from "../../nn/index.ts";
import {
  bytesPerElement,
  cat,
  chooseDevice,
  clone,
  type Device,
  deviceMemory,
  keep,
  libtorchVersion,
  narrow,
  noGrad,
  scope,
  setThreadCount,
  standardThreadCount,
  type Tensor,
  traced,
} from "../../torch/index.ts";
import { memoryBudget, planDeviceMemory, planMemory } from "../machine/memory.ts";
import { type ComputeDtype, chooseDtype } from "../machine/precision.ts";
import { threadsFor } from "../machine/thread-count.ts";
import { ByteCache, type CacheStats } from "./byte-cache.ts";
import { FeatureStore, type FeatureStoreStats } from "./feature-store.ts";
import { type FeatureRows, layOut } from "./layout.ts";
import { PictureFeatures } from "./picture-features.ts";
import { mergeGroups, type Piece, type PromptWork, planStreams } from "./plan.ts";

export interface ScorerOptions {
  /** A checkpoint folder. */
  readonly folder: string;
  /** What the arithmetic runs in, or auto: what this machine is faster in. The head always runs in float32. */
  readonly dtype: ComputeDtype | "auto";
  /** auto, cpu, cuda or cuda:N. */
  readonly device: string;
  /**
   * Bytes that may be held, weights included: by all scorers on the CPU together, on CUDA by each device. The three below
   * follow from it. Default: most of what is free.
   */
  readonly memory?: number;
  /** How many scorers of this process compute on the CPU at once, this one included: they share its threads and memory. */
  readonly sharers?: number;
  /** Tokens that one stream holds at most; a single long answer may exceed it. A vision pass holds four patches for each. */
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

type Budgets = Required<Pick<ScorerOptions, "tokenBudget" | "featureCacheBytes" | "prefixCacheBytes">>;

function budgets(options: ScorerOptions, model: RewardModel, dtype: ComputeDtype): Budgets {
  const plan =
    model.device === "cpu"
      ? planMemory(options.memory ?? memoryBudget(undefined), model.bytes, model.config, dtype, options.sharers)
      : planDeviceMemory(options.memory, deviceMemory(model.device).free, model.bytes, model.config, dtype);
  const most = options.memory === undefined ? modest : { featureCacheBytes: Infinity, prefixCacheBytes: Infinity };
  return {
    tokenBudget: options.tokenBudget ?? plan.tokens,
    featureCacheBytes: options.featureCacheBytes ?? Math.min(plan.featureCache, most.featureCacheBytes),
    prefixCacheBytes: options.prefixCacheBytes ?? Math.min(plan.prefixCache, most.prefixCacheBytes),
  };
}

export interface ScorerStats {
  readonly features: CacheStats;
  readonly prefixes: CacheStats;
  readonly stored?: FeatureStoreStats;
}

/** The keys and values of a prompt, layer by layer; the cache owns them. */
type Prefix = readonly KeyValues[];

export class Scorer {
  readonly tokenBudget: number;
  readonly #model: RewardModel;
  readonly #dtype: ComputeDtype;
  readonly #features: PictureFeatures;
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
    const deviceKind = model.device.replace(/:\d+$/, ""); // features are shared between the devices of one machine
    this.#store =
      featureFolder === undefined
        ? undefined
        : new FeatureStore(featureFolder, {
            weights: model.fingerprint("visual."),
            dtype,
            arithmetic: JSON.stringify([libtorchVersion(), deviceKind, cpus()[0]?.model, model.config.vision]),
          });
    this.#features = new PictureFeatures(model, {
      upTo: "merger",
      patchBudget: 4 * tokenBudget,
      cacheBytes: featureCacheBytes,
      store: this.#store,
    });
  }

  /**
   * Sets the number of threads that operators called on this JavaScript thread use.
   *
   * Throws the codes of a model that cannot be loaded, `device_unavailable`, or `output_unwritable` for the folder.
   */
  static load(options: ScorerOptions): Scorer {
    const device = chooseDevice(options.device);
    const threads = Math.max(1, Math.floor(standardThreadCount() / (options.sharers ?? 1)));
    setThreadCount(threads); // a scorer on another JavaScript thread may have set fewer, for a small model
    const dtype = chooseDtype(options.dtype, device);
    const model = RewardModel.load(options.folder, placement(device, dtype, "mapped"));
    setThreadCount(threadsFor(model.config, threads));
    try {
      return new Scorer(model, dtype, budgets(options, model, dtype), options.featureFolder);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /** Where the arithmetic runs, and in what. */
  get place(): { device: Device; dtype: ComputeDtype } {
    return { device: this.#model.device, dtype: this.#dtype };
  }

  get parameters(): number {
    return this.#model.parameterCount;
  }

  get stats(): ScorerStats {
    return {
      features: this.#features.stats,
      prefixes: this.#prefixes.stats,
      ...(this.#store && { stored: this.#store.stats }),
    };
  }

  /** -> for each group the scores of its branches, in order. Groups with one prompt share its computation. */
  score(groups: readonly GroupPrompt[]): number[][] {
    const scores = groups.map(({ branches }) => new Array<number>(branches.length).fill(Number.NaN));
    const prompts = mergeGroups(groups);
    // What the caches hold is asked for first and stays until the pass is over: they let go of nothing but in set().
    const known = new Map(prompts.map((work) => [work, this.#prefixes.get(work.key)]));
    const made = new Map<PromptWork, KeyValues[]>();
    try {
      const pieces = prompts.flatMap((work) => [...(known.get(work) ? [] : [work.prefix]), ...work.branches]);
      const features = this.#features.see(pieces.flatMap(({ visuals }) => visuals));
      const computed = (work: PromptWork): number => (known.get(work) ? work.prefix.span.ids.length : 0);
      for (const stream of planStreams(prompts, computed, this.tokenBudget, queryBlock)) {
        const before = (work: PromptWork): Prefix | undefined => known.get(work) ?? made.get(work);
        const rewards = traced("decoder", () =>
          this.#run(stream, features, before, (work, prefix) => {
            disposePrefix(made.get(work) ?? []);
            made.set(work, prefix);
          }),
        );
        let row = 0;
        for (const { branches } of stream) {
          for (const { readers } of branches) {
            const reward = rewards[row++] ?? Number.NaN;
            for (const { group, branch } of readers) (scores[group] ?? [])[branch] = reward;
          }
        }
      }
      for (const [work, prefix] of made) this.#prefixes.set(work.key, prefix, bytesOf(prefix));
      made.clear();
    } finally {
      for (const prefix of made.values()) disposePrefix(prefix); // the pass has failed: they may be half-computed
      this.#features.settle();
    }
    return scores;
  }

  dispose(): void {
    this.#features.dispose();
    this.#prefixes.clear();
    this.#model.dispose();
  }

  /** Runs one stream -> the rewards of its branches, in order. */
  #run(
    pieces: readonly Piece[],
    features: ReadonlyMap<string, Tensor>,
    before: (work: PromptWork) => Prefix | undefined,
    onPrefix: (work: PromptWork, prefix: KeyValues[]) => void,
  ): Float32Array {
    return noGrad(() =>
      scope(() => {
        const { backbone, head } = this.#model;
        const stream = layOut(pieces, before);
        const prefixes = new Map<PackedGroup, KeyValues[]>();
        const own = new Set(stream.groups.slice(0, pieces.length)); // without padding
        const listen = (group: PackedGroup, layer: number, prefix: KeyValues): void => {
          if (group.prefix.length === 0 || !own.has(group)) return; // nothing new, or padding
          const kept = prefixes.get(group) ?? [];
          kept[layer] = { keys: keep(clone(prefix.keys)), values: keep(clone(prefix.values)) };
          prefixes.set(group, kept);
        };
        const attention = backbone.model.attention(stream.groups, this.#model, listen);
        const x = backbone.embed(stream, this.#placed(stream.features, features));
        const hidden = backbone.model.forwardPacked(x, stream.positions, attention, stream.rows);
        for (const [index, { work }] of pieces.entries()) {
          const group = stream.groups[index];
          const prefix = group && prefixes.get(group);
          if (prefix) onPrefix(work, prefix);
        }
        return head.forward(hidden).toFloat32Array();
      }),
    );
  }

  /** -> the features that stand in a stream, one below the other [visual tokens, hidden]; undefined where there are none */
  #placed(rows: readonly FeatureRows[], features: ReadonlyMap<string, Tensor>): Tensor | undefined {
    const parts = rows.map(({ visuals, from, until }) => {
      const all = visuals.map(({ key }) => features.get(key)).filter((tensor) => tensor !== undefined);
      return narrow(cat(all, 0), 0, from, until - from);
    });
    return parts.length > 0 ? cat(parts, 0) : undefined;
  }
}

function bytesOf(prefix: Prefix): number {
  return prefix.reduce((sum, { keys }) => sum + 2 * keys.elements * bytesPerElement(keys.dtype), 0);
}

function disposePrefix(prefix: Prefix): void {
  for (const { keys, values } of prefix) {
    keys.dispose();
    values.dispose();
  }
}

/**
 * @file What the vision tower makes of pictures and videos, computed once: kept in memory by content, and on disk for later runs
 * where there is a place for it. Without a graph: for what does not change.
 */
import { patchify } from "../../models/qwen2_5_vl/patches.ts";
import type { Visual } from "../../models/qwen2_5_vl/processor.ts";
import { visualTokens } from "../../models/qwen2_5_vl/window-plan.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import {
  bytesPerElement,
  clone,
  keep,
  narrow,
  noGrad,
  scope,
  type Tensor,
  toDevice,
  traced,
} from "../../torch/index.ts";
import { ByteCache, type CacheStats } from "./byte-cache.ts";
import type { FeatureStore } from "./feature-store.ts";
import { inBatches } from "./plan.ts";

export interface PictureFeaturesOptions {
  /** "merger": what the decoder reads [visual tokens, hidden]; "blocks": what the merger reads [patches, vision hidden]. */
  readonly upTo: "merger" | "blocks";
  /** Patches of one pass; a larger picture goes alone. */
  readonly patchBudget: number;
  /** Bytes of memory for features. */
  readonly cacheBytes: number;
  /** A place on disk for them. */
  readonly store?: FeatureStore | undefined;
}

export class PictureFeatures {
  readonly #model: RewardModel;
  readonly #options: PictureFeaturesOptions;
  readonly #cache: ByteCache<Tensor>;
  /** Computed or read since the last `settle`. */
  readonly #fresh = new Map<string, Tensor>();

  constructor(model: RewardModel, options: PictureFeaturesOptions) {
    this.#model = model;
    this.#options = options;
    this.#cache = new ByteCache(options.cacheBytes, (features) => features.dispose());
  }

  get stats(): CacheStats {
    return this.#cache.stats;
  }

  /**
   * The features of pictures and videos by key: those that are known, and the others computed in as few passes as the budget
   * allows. Good until `settle`: the cache lets go of nothing but there.
   */
  see(visuals: readonly Visual[]): ReadonlyMap<string, Tensor> {
    const features = new Map<string, Tensor>();
    const unseen = new Map<string, Visual>();
    for (const visual of visuals) {
      const { key } = visual;
      if (features.has(key) || unseen.has(key)) continue;
      const known = this.#fresh.get(key) ?? this.#cache.get(key) ?? this.#fromStore(key);
      if (known) features.set(key, known);
      else unseen.set(key, visual);
    }
    for (const batch of inBatches([...unseen.values()], patchesOf, this.#options.patchBudget)) {
      for (const [key, tensor] of traced("vision", () => this.#encode(batch))) {
        features.set(key, tensor);
        this.#fresh.set(key, tensor);
        this.#options.store?.put(key, tensor);
      }
    }
    return features;
  }

  /** Ends a pass: what it found is kept, as far as there is room. */
  settle(): void {
    for (const [key, tensor] of this.#fresh) {
      this.#cache.set(key, tensor, tensor.elements * bytesPerElement(tensor.dtype));
    }
    this.#fresh.clear();
  }

  dispose(): void {
    this.settle();
    this.#cache.clear();
  }

  #fromStore(key: string): Tensor | undefined {
    const stored = this.#options.store?.get(key);
    if (!stored) return undefined;
    const tensor = keep(toDevice(stored, this.#model.device, stored.dtype));
    this.#fresh.set(key, tensor);
    return tensor;
  }

  /** -> the features of each, computed in one pass; the caller owns them */
  #encode(visuals: readonly Visual[]): Map<string, Tensor> {
    const { backbone, config, device } = this.#model;
    const merged = this.#options.upTo === "merger";
    return noGrad(() =>
      scope(() => {
        const grids = visuals.map(({ grid }) => grid);
        const encoded = backbone.visual.encode(patchify(visuals, config.vision, device), grids);
        const all = merged ? backbone.visual.merge(encoded) : encoded;
        const features = new Map<string, Tensor>();
        let start = 0;
        for (const visual of visuals) {
          const rows = merged ? visualTokens(visual.grid, config.vision.spatialMergeSize) : patchesOf(visual);
          features.set(visual.key, keep(clone(narrow(all, 0, start, rows))));
          start += rows;
        }
        return features;
      }),
    );
  }
}

const patchesOf = ({ grid }: Visual): number => grid.t * grid.h * grid.w;

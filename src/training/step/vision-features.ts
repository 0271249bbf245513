/**
 * @file What the decoder sees of pictures and videos while training. Whatever lies below the lowest trained weight of the
 * vision tower gives the same for a picture every time: it is computed once, without a graph, and kept in memory or on disk.
 */
import { patchify } from "../../models/qwen2_5_vl/patches.ts";
import type { Visual } from "../../models/qwen2_5_vl/processor.ts";
import { visualTokens } from "../../models/qwen2_5_vl/window-plan.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import type { LayerRunner } from "../../nn/index.ts";
import { ByteCache } from "../../reward/byte-cache.ts";
import type { FeatureStore } from "../../reward/feature-store.ts";
import { inBatches } from "../../reward/plan.ts";
import { bytesPerElement, cat, clone, keep, narrow, noGrad, scope, type Tensor, toDevice } from "../../torch/index.ts";

/** How much of the vision tower is trained: all of it, its merger alone, or nothing. */
export type TrainedVision = "tower" | "merger" | "nothing";

export interface VisionFeaturesOptions {
  readonly trained: TrainedVision;
  /** Patches of one pass; a larger picture goes alone. */
  readonly patchBudget: number;
  /** Bytes of memory for what does not change. */
  readonly cacheBytes: number;
  /** A place on disk for it. */
  readonly store?: FeatureStore;
}

export class VisionFeatures {
  readonly #model: RewardModel;
  readonly #options: VisionFeaturesOptions;
  readonly #frozen: ByteCache<Tensor>;
  #fresh = new Map<string, Tensor>();

  constructor(model: RewardModel, options: VisionFeaturesOptions) {
    this.#model = model;
    this.#options = options;
    this.#frozen = new ByteCache(options.cacheBytes, (tensor) => tensor.dispose());
  }

  /**
   * The features of these pictures and videos, no two with one key, one below the other [visual tokens, hidden]:
   * differentiable with respect to what is trained. Good until `settle`.
   */
  of(visuals: readonly Visual[], run: LayerRunner): Tensor {
    const { visual } = this.#model.backbone;
    if (this.#options.trained === "tower") return visual.forward(this.#patches(visuals), visuals.map(gridOf), run);
    const frozen = cat(this.#see(visuals), 0);
    return this.#options.trained === "merger" ? visual.merge(frozen) : frozen;
  }

  /** The rows of `of` that each picture or video has. */
  rows({ grid }: Visual): number {
    return visualTokens(grid, this.#model.config.vision.spatialMergeSize);
  }

  /** Ends a pass: what it computed is kept, as far as there is room. */
  settle(): void {
    for (const [key, tensor] of this.#fresh) {
      this.#frozen.set(key, tensor, tensor.elements * bytesPerElement(tensor.dtype));
    }
    this.#fresh.clear();
  }

  dispose(): void {
    this.settle();
    this.#frozen.clear();
  }

  /** -> what does not change, for each: known, or computed now */
  #see(visuals: readonly Visual[]): Tensor[] {
    const found = new Map<string, Tensor>();
    for (const { key } of visuals) {
      const known = this.#frozen.get(key) ?? this.#fresh.get(key) ?? this.#fromStore(key);
      if (known) found.set(key, known);
    }
    const unseen = visuals.filter(({ key }) => !found.has(key));
    for (const batch of inBatches(unseen, patchesOf, this.#options.patchBudget)) {
      for (const [key, tensor] of this.#encode(batch)) {
        found.set(key, tensor);
        this.#fresh.set(key, tensor);
        this.#options.store?.put(key, tensor);
      }
    }
    return visuals.map(({ key }) => found.get(key)).filter((tensor) => tensor !== undefined);
  }

  #fromStore(key: string): Tensor | undefined {
    const stored = this.#options.store?.get(key);
    if (!stored) return undefined;
    const tensor = keep(toDevice(stored, this.#model.device, stored.dtype));
    this.#fresh.set(key, tensor);
    return tensor;
  }

  #encode(visuals: readonly Visual[]): Map<string, Tensor> {
    const { visual } = this.#model.backbone;
    const merged = this.#options.trained === "nothing";
    return noGrad(() =>
      scope(() => {
        const encoded = visual.encode(this.#patches(visuals), visuals.map(gridOf));
        const all = merged ? visual.merge(encoded) : encoded;
        const tensors = new Map<string, Tensor>();
        let start = 0;
        for (const one of visuals) {
          const rows = merged ? this.rows(one) : patchesOf(one);
          tensors.set(one.key, keep(clone(narrow(all, 0, start, rows))));
          start += rows;
        }
        return tensors;
      }),
    );
  }

  #patches(visuals: readonly Visual[]): Tensor {
    return patchify(visuals, this.#model.config.vision, this.#model.device);
  }
}

const gridOf = ({ grid }: Visual): Visual["grid"] => grid;
const patchesOf = ({ grid }: Visual): number => grid.t * grid.h * grid.w;

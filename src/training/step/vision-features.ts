/**
 * @file What the decoder sees of pictures and videos while training. Whatever lies below the lowest trained weight of the
 * vision tower gives the same for a picture every time: it is computed once, without a graph, and kept in memory or on disk.
 */

import { PictureFeatures, type PictureFeaturesOptions } from "../../engine/pass/picture-features.ts";
import { patchify } from "../../models/qwen2_5_vl/patches.ts";
import type { Visual } from "../../models/prompt.ts";
import { visualTokens } from "../../models/qwen2_5_vl/window-plan.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import type { LayerRunner } from "../../nn/index.ts";
import { cat, type Tensor } from "../../torch/index.ts";

/** How much of the vision tower is trained: all of it, its merger alone, or nothing. */
export type TrainedVision = "tower" | "merger" | "nothing";

export interface VisionFeaturesOptions extends Omit<PictureFeaturesOptions, "upTo"> {
  readonly trained: TrainedVision;
}

export class VisionFeatures {
  readonly #model: RewardModel;
  readonly #trained: TrainedVision;
  readonly #frozen: PictureFeatures;

  constructor(model: RewardModel, { trained, ...options }: VisionFeaturesOptions) {
    this.#model = model;
    this.#trained = trained;
    this.#frozen = new PictureFeatures(model, { ...options, upTo: trained === "nothing" ? "merger" : "blocks" });
  }

  /**
   * The features of these pictures and videos, no two with one key, one below the other [visual tokens, hidden]:
   * differentiable with respect to what is trained. Good until `settle`.
   */
  of(visuals: readonly Visual[], run: LayerRunner): Tensor {
    const { config, device, backbone } = this.#model;
    const { visual } = backbone;
    if (this.#trained === "tower") {
      const grids = visuals.map(({ grid }) => grid);
      return visual.forward(patchify(visuals, config.vision, device), grids, run);
    }
    const known = this.#frozen.see(visuals);
    const frozen = cat(
      visuals.map(({ key }) => known.get(key)).filter((tensor) => tensor !== undefined),
      0,
    );
    return this.#trained === "merger" ? visual.merge(frozen) : frozen;
  }

  /** The rows of `of` that each picture or video has. */
  rows({ grid }: Visual): number {
    return visualTokens(grid, this.#model.config.vision.spatialMergeSize);
  }

  /** Ends a pass: what it computed is kept, as far as there is room. */
  settle(): void {
    this.#frozen.settle();
  }

  dispose(): void {
    this.#frozen.dispose();
  }
}

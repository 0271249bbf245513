/**
 * @file What the decoder sees of pictures and videos while training. Whatever lies below the lowest trained weight of the
 * vision tower gives the same for a picture every time: it is computed once, without a graph, and kept in memory or on disk.
 */

import { PictureFeatures, type PictureFeaturesOptions, type SeenPictures } from "../../engine/pass/picture-features.ts";
import { VlRewardError } from "../../errors.ts";
import type { VisionTower } from "../../models/backbone.ts";
import { Features } from "../../models/features.ts";
import type { Visual } from "../../models/prompt.ts";
import type { LayerRunner } from "../../nn/index.ts";
import type { Device } from "../../torch/index.ts";

/** How much of the vision tower is trained: all of it, its merger alone, or nothing. */
export type TrainedVision = "tower" | "merger" | "nothing";

export interface VisionFeaturesOptions extends Omit<PictureFeaturesOptions, "upTo"> {
  readonly trained: TrainedVision;
}

export class VisionFeatures {
  readonly #tower: VisionTower;
  readonly #trained: TrainedVision;
  readonly #frozen: PictureFeatures;
  #seen: SeenPictures;

  constructor(tower: VisionTower, device: Device, { trained, ...options }: VisionFeaturesOptions) {
    this.#tower = tower;
    this.#trained = trained;
    this.#frozen = new PictureFeatures(tower, device, {
      ...options,
      upTo: trained === "nothing" ? "merger" : "blocks",
    });
    this.#seen = this.#frozen.open();
  }

  /**
   * The features of these pictures and videos, no two with one key, one below the other: a row for each visual token,
   * differentiable with respect to what is trained. Good until `settle`.
   */
  of(visuals: readonly Visual[], run: LayerRunner): Features {
    if (this.#trained === "tower") return this.#tower.merge(this.#tower.encode(visuals, run));
    const known = whole(this.#seen.see(visuals));
    const frozen = Features.joined(visuals.map(({ key }) => known.get(key)).filter((one) => one !== undefined));
    if (!frozen) throw new VlRewardError("internal_error", "Expected pictures whose features are wanted, got none.");
    return this.#trained === "merger" ? this.#tower.merge(frozen) : frozen;
  }

  /** Ends a pass: what it computed is kept, as far as there is room. */
  settle(): void {
    this.#seen.settle();
  }

  dispose(): void {
    this.#seen.settle();
    this.#frozen.dispose();
  }
}

/** All steps at once. */
function whole<T>(steps: Generator<void, T>): T {
  for (let next = steps.next(); ; next = steps.next()) if (next.done) return next.value;
}

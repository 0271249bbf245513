/**
 * @file What the vision tower makes of pictures and videos, computed once: kept in memory by content, and on disk for later runs
 * where there is a place for it. Without a graph: for what does not change. A video that is more than a pass holds is computed
 * slice by slice.
 */

import type { VisionTower } from "../../models/backbone.ts";
import { Features } from "../../models/features.ts";
import type { Visual } from "../../models/prompt.ts";
import { runLayers } from "../../nn/index.ts";
import { type Device, noGrad, scope, traced } from "../../torch/index.ts";
import { ByteCache, type CacheStats, type Loan } from "./byte-cache.ts";
import type { FeatureStore } from "./feature-store.ts";
import { inBatches } from "./plan.ts";

export interface PictureFeaturesOptions {
  /** "merger": what the decoder reads, a row for each visual token; "blocks": what the merger reads, a row for each patch. */
  readonly upTo: "merger" | "blocks";
  /** Patches of one pass of the tower; a larger picture goes alone, as does a step in time of a video. */
  readonly patchBudget: number;
  /** Bytes of memory for features. */
  readonly cacheBytes: number;
  /** A place on disk for them. */
  readonly store?: FeatureStore | undefined;
}

export class PictureFeatures {
  readonly #tower: VisionTower;
  readonly #device: Device;
  readonly #options: PictureFeaturesOptions;
  readonly #cache: ByteCache<Features>;

  constructor(tower: VisionTower, device: Device, options: PictureFeaturesOptions) {
    this.#tower = tower;
    this.#device = device;
    this.#options = options;
    this.#cache = new ByteCache(options.cacheBytes, (features) => features.dispose());
  }

  get stats(): CacheStats {
    return this.#cache.stats;
  }

  /** For one pass; several may be open at a time. */
  open(): SeenPictures {
    return new SeenPictures(this.#cache, this.#options, {
      slices: (visual) => this.#tower.slices(visual, this.#options.patchBudget),
      encode: (visuals) => this.#encode(visuals),
      fromStore: (key) => this.#fromStore(key),
    });
  }

  dispose(): void {
    this.#cache.clear();
  }

  #fromStore(key: string): Features | undefined {
    const { store } = this.#options;
    if (!store) return undefined;
    const parts = Array.from({ length: this.#tower.featureTensors }, (_, index) => store.get(partKey(key, index)));
    const stored = parts.filter((tensor) => tensor !== undefined);
    return stored.length < parts.length ? undefined : new Features(stored).on(this.#device);
  }

  /** -> the features of each, computed in one pass; the caller owns them */
  #encode(visuals: readonly Visual[]): Map<string, Features> {
    const merged = this.#options.upTo === "merger";
    return noGrad(() =>
      scope(() => {
        const encoded = this.#tower.encode(visuals, runLayers);
        const all = merged ? this.#tower.merge(encoded) : encoded;
        const features = new Map<string, Features>();
        let start = 0;
        for (const { key, tokens, patches } of visuals) {
          const rows = merged ? tokens : patches;
          features.set(key, all.narrow(start, rows).copy());
          start += rows;
        }
        return features;
      }),
    );
  }
}

interface SeenMaker {
  slices(visual: Visual): readonly Visual[];
  encode(visuals: readonly Visual[]): Map<string, Features>;
  fromStore(key: string): Features | undefined;
}

/** What one pass sees: good until it is settled, whatever other passes do. */
export class SeenPictures {
  readonly #cache: ByteCache<Features>;
  readonly #loan: Loan<Features>;
  readonly #options: PictureFeaturesOptions;
  readonly #made: SeenMaker;
  /** Computed or read from the store; not yet the cache's. */
  readonly #fresh = new Map<string, Features>();

  constructor(cache: ByteCache<Features>, options: PictureFeaturesOptions, made: SeenMaker) {
    this.#cache = cache;
    this.#loan = cache.lend();
    this.#options = options;
    this.#made = made;
  }

  /**
   * The features of pictures and videos by key: those that are known, and the others computed in as few passes of the tower
   * as the budget allows, with a break after each.
   */
  *see(visuals: readonly Visual[]): Generator<void, ReadonlyMap<string, Features>> {
    const features = new Map<string, Features>();
    const unseen = new Map<string, Visual>();
    for (const visual of visuals) {
      const { key } = visual;
      if (features.has(key) || unseen.has(key)) continue;
      const known = this.#fresh.get(key) ?? this.#loan.get(key) ?? this.#fromStore(key);
      if (known) features.set(key, known);
      else unseen.set(key, visual);
    }
    const { patchBudget, store } = this.#options;
    for (const batch of inBatches([...unseen.values()], ({ patches }) => patches, patchBudget)) {
      for (const [key, seen] of yield* this.#compute(batch)) {
        features.set(key, seen);
        this.#fresh.set(key, seen);
        for (const [index, tensor] of seen.tensors.entries()) store?.put(partKey(key, index), tensor);
      }
      yield;
    }
    return features;
  }

  /** -> the features of a batch; of one that is a long video, with a break between its slices. The caller owns them. */
  *#compute(batch: readonly Visual[]): Generator<void, ReadonlyMap<string, Features>> {
    const [first, second] = batch;
    const slices = first && !second ? this.#made.slices(first) : [];
    if (!first || slices.length < 2) return traced("vision", () => this.#made.encode(batch));
    const parts: Features[] = [];
    try {
      for (const slice of slices) {
        if (parts.length > 0) yield;
        parts.push(...traced("vision", () => this.#made.encode([slice])).values());
      }
      const whole = scope(() => Features.joined(parts)?.kept());
      return new Map(whole && [[first.key, whole]]);
    } finally {
      for (const part of parts) part.dispose(); // the pass may have been left at a break
    }
  }

  /** Ends the pass: what it found is kept, as far as there is room. May go on with another one. */
  settle(): void {
    this.#loan.end();
    for (const [key, features] of this.#fresh) this.#cache.set(key, features, features.bytes);
    this.#fresh.clear();
  }

  #fromStore(key: string): Features | undefined {
    const features = this.#made.fromStore(key);
    if (features) this.#fresh.set(key, features);
    return features;
  }
}

/** Under which each of a picture's tensors is stored. */
const partKey = (key: string, index: number): string => (index === 0 ? key : `${key} ${index}`);

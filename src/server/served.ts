/** @file What every route is made with. */

import type { MediaRegistry } from "./media-registry.ts";
import type { Metrics } from "./metrics.ts";
import type { Scoring } from "./scoring.ts";
import type { ServedModels } from "./served-models.ts";

/** What one request may ask for; the limits of pictures are the engine's media policy. */
export interface RequestLimits {
  /** Of a body. An upload of a picture or video has the registry's limit. */
  readonly bodyBytes: number;
  /** Answers to one prompt. */
  readonly candidates: number;
  /** Records, or conversations of a dialect. */
  readonly items: number;
}

export const defaultLimits: RequestLimits = { bodyBytes: 128 * 2 ** 20, candidates: 4096, items: 16_384 };

/** What the routes are made with. */
export interface Served {
  readonly models: ServedModels;
  readonly registry: MediaRegistry;
  readonly scoring: Scoring;
  readonly metrics: Metrics;
  readonly limits: RequestLimits;
  readonly version: string;
}

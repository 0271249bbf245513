/**
 * @file The scoring engine: groups of answers in, their rewards out, in order. A group's pictures are read and encoded
 * once for all its answers.
 */

import path from "node:path";
import { readJson } from "../checkpoint/checkpoint.ts";
import { VlRewardError } from "../errors.ts";
import type { Message, PixelLimits } from "../models/conversation.ts";
import { Processor, type Prompt, type Visual } from "../models/qwen2_5_vl/processor.ts";
import { visualTokens } from "../models/qwen2_5_vl/window-plan.ts";
import { RewardModel } from "../models/reward-model.ts";
import { placement } from "../nn/index.ts";
import { cat, chooseDevice, narrow, noGrad, scope, type Tensor, tensorFrom } from "../torch/index.ts";

/** Answers to one prompt. */
export interface Group {
  /** All turns before the answer. */
  readonly prefix: readonly Message[];
  /** The answers: one assistant turn each. */
  readonly branches: readonly Message[];
  /** What relative paths of pictures and videos are relative to. */
  readonly baseFolder: string;
}

/** One score for each branch, or why the group could not be scored. */
export type GroupResult =
  | { readonly scores: readonly number[]; readonly tokens: number }
  | { readonly error: VlRewardError };

export interface EngineOptions {
  /** A checkpoint folder. */
  readonly folder: string;
  /** What the arithmetic runs in; the head always runs in float32. */
  readonly dtype: "float32" | "bfloat16";
  /** auto, cpu, cuda or cuda:N. */
  readonly device: string;
  /** For pictures that name none themselves. */
  readonly pixelLimits: PixelLimits;
}

export interface EngineStats {
  readonly sequences: number;
  readonly tokens: number;
  readonly mediaSeconds: number; // reading pictures and videos, tokenizing
  readonly computeSeconds: number;
}

export class RewardEngine implements AsyncDisposable {
  readonly info: { readonly device: string; readonly untrained: boolean };
  readonly #model: RewardModel;
  readonly #processor: Processor;
  #stats: EngineStats = { sequences: 0, tokens: 0, mediaSeconds: 0, computeSeconds: 0 };

  private constructor(model: RewardModel, processor: Processor, info: RewardEngine["info"]) {
    this.#model = model;
    this.#processor = processor;
    this.info = info;
  }

  /** Loads a checkpoint. Rejects with the codes of a model that cannot be loaded, or `device_unavailable`. */
  static async open(options: EngineOptions): Promise<RewardEngine> {
    const device = chooseDevice(options.device);
    const model = RewardModel.load(options.folder, placement(device, options.dtype, "mapped"));
    const processor = await Processor.load(options.folder, model.config, options.pixelLimits);
    return new RewardEngine(model, processor, { device, untrained: isUntrained(options.folder) });
  }

  get stats(): EngineStats {
    return this.#stats;
  }

  /**
   * Scores groups one after the other: one result each, in order. A group that cannot be scored yields its error, and
   * the next one is scored. Rejects only with the signal's reason.
   */
  async *score(
    groups: AsyncIterable<Group> | Iterable<Group>,
    options: { signal?: AbortSignal } = {},
  ): AsyncGenerator<GroupResult> {
    for await (const group of groups) {
      options.signal?.throwIfAborted();
      yield await this.#scoreGroup(group, options.signal);
    }
  }

  async #scoreGroup(group: Group, signal: AbortSignal | undefined): Promise<GroupResult> {
    try {
      const began = performance.now();
      const prompts = await this.#processor.prepare(group.prefix, group.branches, {
        baseFolder: group.baseFolder,
        ...(signal && { signal }),
      });
      const prepared = performance.now();
      const scores = this.#rewards(prompts);
      const tokens = prompts.reduce((sum, { sequence }) => sum + sequence.ids.length, 0);
      this.#stats = {
        sequences: this.#stats.sequences + prompts.length,
        tokens: this.#stats.tokens + tokens,
        mediaSeconds: this.#stats.mediaSeconds + (prepared - began) / 1000,
        computeSeconds: this.#stats.computeSeconds + (performance.now() - prepared) / 1000,
      };
      return { scores, tokens };
    } catch (error) {
      signal?.throwIfAborted();
      return { error: asVlRewardError(error) };
    }
  }

  #rewards(prompts: readonly Prompt[]): number[] {
    return noGrad(() =>
      scope(() => {
        const features = this.#encode(new Set(prompts.flatMap(({ visuals }) => visuals)));
        return prompts.map(({ sequence, visuals }) =>
          scope(() => {
            const own = visuals.map((visual) => features.get(visual)).filter((tensor) => tensor !== undefined);
            const [reward = Number.NaN] = this.#model
              .reward(sequence, own.length > 0 ? cat(own, 0) : undefined)
              .toFloat32Array();
            return reward;
          }),
        );
      }),
    );
  }

  /** -> the features [visual tokens, hidden] of each picture and video, computed in one pass */
  #encode(visuals: ReadonlySet<Visual>): Map<Visual, Tensor> {
    const features = new Map<Visual, Tensor>();
    if (visuals.size === 0) return features;
    const all = [...visuals];
    const { device } = this.#model;
    const patches = all.map(({ values, grid }) =>
      tensorFrom(values, [grid.t * grid.h * grid.w, values.length / (grid.t * grid.h * grid.w)], "float32", device),
    );
    const grids = all.map(({ grid }) => grid);
    const encoded = this.#model.backbone.visual.forward(cat(patches, 0), grids);
    let start = 0;
    for (const visual of all) {
      const count = visualTokens(visual.grid, this.#model.config.vision.spatialMergeSize);
      features.set(visual, narrow(encoded, 0, start, count));
      start += count;
    }
    return features;
  }

  /** Frees the model. */
  async close(): Promise<void> {
    this.#model.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A checkpoint of this project says in its config.json that its weights are random. */
function isUntrained(folder: string): boolean {
  const config = readJson(path.join(folder, "config.json"));
  return typeof config === "object" && config !== null && "untrained" in config && config.untrained === true;
}

/** A defect of ours must not end a run of a million records: it becomes that record's error, with its stack as cause. */
function asVlRewardError(error: unknown): VlRewardError {
  if (error instanceof VlRewardError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new VlRewardError("internal_error", `This record met a defect of vl-reward; please report it: ${reason}`, {
    cause: error,
  });
}

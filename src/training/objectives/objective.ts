/**
 * @file A training objective as a value: what it asks of a pass, and a pure function from what the pass has computed to a
 * loss. registry.ts names those that there are; nothing else in training knows one by its name.
 */
import type { z } from "zod";
import type { Tensor } from "../../torch/index.ts";
import type { LossSettings, Reading } from "./reading.ts";

/** @typeParam State what it knows of the steps before; JSON holds it */
export interface Objective<State = unknown> {
  /** One word: the key of its weight in the configuration. */
  readonly name: string;
  /** Of its weight, for the reference of the configuration: "of the loss over pairs". */
  readonly about: string;
  /** Which answers of a pair have to be computed. */
  readonly answers: "all" | "chosen";
  /** Whose hidden states: of the last token of each conversation, or of every token. */
  readonly rows: "ends" | "all";
  readonly heads: readonly Head[];
  readonly sums: readonly Sum[];
  /** What it minimises, for a model card. */
  formula(settings: LossSettings): string;
  /**
   * The loss of one stream's pairs, a float32 scalar, summed over them, and its sums. A step takes the loss of each of its
   * streams with one state, times the weight.
   */
  loss(reading: Reading, state: State): { readonly loss: Tensor; readonly sums: Readonly<Record<string, number>> };
  /** Saved with the run, so that a resumed one goes on with it. It goes on from stage to stage, as the weights do. */
  readonly state?: {
    readonly schema: z.ZodType<State>;
    start(): State;
    /** @param means its sums over the step just made, of all processes, divided by the step's pairs */
    after(means: Readonly<Record<string, number>>, state: State): State;
  };
}

/** What reads hidden states. */
export type Head = "reward" | "language";

/** A number that an objective adds up over the pairs of a step and that is told as their mean. */
export interface Sum {
  /** In snake_case: its column in metrics.jsonl, and behind `train/` its tag in TensorBoard. */
  readonly name: string;
  /** Of its curve in the report. */
  readonly title: string;
  readonly about: string;
}

/** An objective in a step: how much it counts, and the state that it has come to. */
export interface WeighedObjective {
  readonly objective: Objective;
  readonly weight: number;
  readonly state: unknown;
}

/** What a pass has to compute for all of these. */
export function needsOf(weighed: readonly WeighedObjective[]) {
  const all = weighed.map(({ objective }) => objective);
  return {
    answers: all.some(({ answers }) => answers === "all") ? ("all" as const) : ("chosen" as const),
    rows: all.some(({ rows }) => rows === "all") ? ("all" as const) : ("ends" as const),
    heads: new Set(all.flatMap(({ heads }) => heads)),
  };
}

/**
 * @file The check of one preference before training: are its pictures and videos there, and is it short enough, or can
 * be cut?
 */

import { promptHash } from "../../data/canonical.ts";
import type { Preference } from "../../data/preference.ts";
import { type ErrorCode, VlRewardError } from "../../errors.ts";
import type { OpenOptions } from "../../media/source.ts";
import type { Processor, VisualTokens } from "../../models/processor.ts";
import { nextCut, withoutOldest } from "./cut.ts";

/** What to do with a record that is longer than `maxLength`: leave it out, refuse the run, or cut it (cut.ts). */
export type TooLong = "drop" | "error" | "cut";

export interface LengthRule {
  /** The most tokens that a conversation may have; no more than the model has positions. */
  readonly maxLength: number;
  readonly tooLong: TooLong;
}

/** What the check makes of a record; plain data. */
export type Outcome =
  | { readonly kind: "bad"; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: "dropped" }
  | {
      readonly kind: "usable";
      readonly pairs: number;
      /** Of the prompt once and all answers. */
      readonly tokens: number;
      /** Of the longest conversation. */
      readonly longest: number;
      readonly droppedTurns: number;
      readonly prompt: number;
      /** False with a picture or video behind an address. */
      readonly lengthKnown: boolean;
    };

/** Rejects only with the signal's reason and with defects. */
export async function checkPreference(
  preference: Preference,
  counter: Processor,
  rule: LengthRule,
  options: OpenOptions,
): Promise<Outcome> {
  try {
    const visuals = await counter.measure([...preference.prefix, ...preference.answers], options);
    return measured(preference, visuals, counter, rule);
  } catch (error) {
    if (error instanceof VlRewardError) return badOutcome(error);
    throw error;
  }
}

export const badOutcome = ({ code, message }: VlRewardError): Outcome => ({ kind: "bad", code, message });

function measured(
  { prefix, answers, pairs }: Preference,
  visuals: VisualTokens,
  counter: Processor,
  { maxLength, tooLong }: LengthRule,
): Outcome {
  let droppedTurns = 0;
  for (;;) {
    const { conversations, shared } = counter.count(withoutOldest(prefix, droppedTurns), answers, visuals);
    const longest = Math.max(...conversations);
    if (longest <= maxLength) {
      const lengthKnown = ![...visuals.values()].includes(undefined);
      const prompt = promptHash(prefix);
      return { kind: "usable", pairs: pairs.length, tokens: shared, longest, droppedTurns, prompt, lengthKnown };
    }
    if (tooLong === "error") {
      throw new VlRewardError("sequence_too_long", `it has ${longest} tokens, at most ${maxLength} are trained on`);
    }
    const next = tooLong === "cut" ? nextCut(prefix, droppedTurns) : undefined;
    if (next === undefined) return { kind: "dropped" };
    droppedTurns = next;
  }
}

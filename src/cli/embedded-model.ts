/**
 * @file The model that ships with the package, called `tiny` on the command line.
 */

import { fileURLToPath } from "node:url";
import type { LocateOptions } from "../hub/locate.ts";
import type { LiveLine } from "./live-line.ts";

export const embeddedModel = fileURLToPath(new URL("../../models/tiny/", import.meta.url));

/** What a person must know before looking at the scores of an untrained model. */
export const sayUntrained =
  "This model has random weights: its scores mean nothing, they only show that everything works. " +
  "For scores that mean something, use a trained one: --model Skywork/Skywork-VL-Reward-7B";

/** How a command looks for a model: what happens meanwhile is said on standard error. */
export const modelLookup = (live: LiveLine, signal: AbortSignal): Omit<LocateOptions, "revision"> => ({
  embedded: embeddedModel,
  signal,
  onProgress: (step) => {
    if (step.kind === "notice") live.say(step.message);
    else live.download(step.done, step.total);
  },
});

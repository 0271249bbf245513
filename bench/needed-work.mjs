/** @file Prepares a workload's groups and counts the tokens and the work that they need. */
import { decoderWork, sharedLoad, visionWork } from "./counted-work.mjs";

/** @typedef {import("../src/models/prompt.ts").GroupPrompt} GroupPrompt */
/** @typedef {import("../src/models/qwen2_5_vl/config.ts").Qwen25VLConfig} Config */

/** @type {typeof import("../src/engine/pass/plan.ts")} */
const { mergeGroups } = await import(new URL("../dist/engine/pass/plan.js", import.meta.url).href);

/**
 * @param {Config} config
 * @param {readonly GroupPrompt[]} before what is cached: scored earlier
 * @param {readonly GroupPrompt[]} groups
 * @returns {{ tokens: number, flop: number }} tokens that run through the decoder, pictures' included
 */
export function neededWork(config, before, groups) {
  const earlier = mergeGroups(before);
  const knownPrompts = new Set(earlier.map(({ key }) => key));
  const knownVisuals = new Set(before.flatMap(({ visuals }) => visuals.map(({ key }) => key)));
  const visuals = new Map(groups.flatMap((group) => group.visuals.map((visual) => [visual.key, visual])));
  let flop = 0;
  let tokens = 0;
  for (const [key, { grid }] of visuals) if (!knownVisuals.has(key)) flop += visionWork(config.vision, grid);
  for (const { key, prefix, branches } of mergeGroups(groups)) {
    const answers = branches.map(({ span }) => span.ids.length);
    const load = sharedLoad(prefix.span.ids.length, answers, { cached: knownPrompts.has(key) });
    flop += decoderWork(config.text, load);
    tokens += load.tokens;
  }
  return { tokens, flop };
}

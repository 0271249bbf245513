/** @file Which weights are trained: parts of the model by name, or patterns over the names that a checkpoint has. */
import { VlRewardError } from "../../errors.ts";
import type { Backbone, Part } from "../../models/backbone.ts";
import type { Parameter } from "../../nn/index.ts";
import type { TrainedVision } from "./vision-features.ts";

/** The parts of a model: `decoder` is the embedding, the layers and the final norm. Its language head is never trained. */
type ModelPart = Part | "head";
const modelParts: readonly string[] = ["vision", "merger", "decoder", "head"] satisfies ModelPart[];

/** The default of `train`, and what `init` wants. */
const generalLists = [["merger", "decoder", "head"], modelParts];

const partOf = (name: string, { parts }: Pick<Backbone, "parts">): ModelPart =>
  name.startsWith("head.") ? "head" : parts.partOf(name);

/**
 * -> the parameters that `train` names, in the model's order. A pattern is a whole name or the beginning of one up to a dot,
 * with `*` for anything. Throws `config_invalid` for one that fits nothing; a model for text need not have the vision parts of
 * the default.
 *
 * @param lora whether low-rank updates stand in for the decoder's and the vision tower's own weights
 */
export function trainedParameters(
  parameters: Iterable<readonly [string, Parameter]>,
  backbone: Pick<Backbone, "parts" | "vision">,
  train: readonly string[],
  lora: boolean,
): Map<string, Parameter> {
  const all = [...parameters];
  const chosen = new Set<string>();
  // Lists that are written for every model name parts of a vision tower, which a model for text has not.
  const isGeneral = generalLists.some((list) => list.every((part) => train.includes(part)));
  for (const entry of train) {
    const isPart = modelParts.includes(entry);
    const fits = isPart ? (name: string) => partOf(name, backbone) === entry : patternTest(entry);
    const names = all.map(([name]) => name).filter(fits);
    if (names.length === 0 && isGeneral && isPart && !backbone.vision) continue;
    if (names.length === 0) {
      throw new VlRewardError(
        "config_invalid",
        `train: ${JSON.stringify(entry)} fits no weight of the model. Names are like ${all.at(0)?.[0]} and ${all.at(-1)?.[0]}.`,
      );
    }
    if (lora && (entry === "decoder" || entry === "vision")) continue;
    for (const name of names) chosen.add(name);
  }
  for (const [name] of all) if (updateName.test(name)) chosen.add(name);
  return new Map(all.filter(([name]) => chosen.has(name)));
}

/** The names of a low-rank update's two matrices among the model's parameters. */
export const updateName = /^(.+)\.lora\.([ab])$/;

/** How much of the vision tower is among these names. */
export function trainedVision(names: Iterable<string>, backbone: Pick<Backbone, "parts">): TrainedVision {
  const parts = new Set([...names].map((name) => partOf(name, backbone)));
  if (parts.has("vision")) return "tower";
  return parts.has("merger") ? "merger" : "nothing";
}

export function patternTest(pattern: string): (name: string) => boolean {
  const escaped = pattern.split("*").map((text) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  const expression = new RegExp(`^${escaped.join(".*")}(\\..*)?$`);
  return (name) => expression.test(name);
}

/** @file Low-rank updates on a model: which linear layers get them, and the weights that come of them. */
import type { TensorSource } from "../../checkpoint/save.ts";
import { VlRewardError } from "../../errors.ts";
import type { Backbone } from "../../models/backbone.ts";
import {
  attachLora,
  type Linear,
  type LoraOptions,
  type LowRankUpdate,
  namedLinears,
  type Placement,
} from "../../nn/index.ts";
import { Generator } from "../../torch/index.ts";
import { patternTest, updateName } from "./trainable.ts";

/** -> whether a linear layer is one that a target of this word or pattern means */
function targetTest({ parts }: Backbone, target: string): (name: string) => boolean {
  const inDecoder = (name: string): boolean => parts.partOf(name) === "decoder";
  if (target === "decoder") return inDecoder;
  if (target === "vision") return (name) => parts.partOf(name) === "vision" && parts.isInLayer(`${name}.weight`);
  if (/[.*]/.test(target)) return patternTest(target);
  return (name) => inDecoder(name) && name.endsWith(`.${target}`);
}

/**
 * -> the linear layers that `targets` name, in the model's order: parts (`decoder`, `vision`: its layers), PEFT's names for
 * the decoder's layers (`q_proj`), or patterns over whole names (`*.qkv`). Throws `config_invalid` for one that fits nothing.
 */
export function loraTargets(backbone: Backbone, targets: readonly string[]): Map<string, Linear> {
  const all = [...namedLinears(backbone)];
  const chosen = new Set<string>();
  for (const target of targets) {
    const names = all.map(([name]) => name).filter(targetTest(backbone, target));
    if (names.length === 0) {
      const decoder = all.map(([name]) => name).filter((name) => backbone.parts.partOf(name) === "decoder");
      const known = [...new Set(decoder.map((name) => name.slice(name.lastIndexOf(".") + 1)))].join(", ");
      throw new VlRewardError(
        "config_invalid",
        `lora.targets: ${JSON.stringify(target)} fits no linear layer. Expected decoder, ` +
          `${backbone.vision ? "vision, " : ""}one of the decoder's ${known}, or a pattern such as *.${decoder.at(-1)}.`,
      );
    }
    for (const name of names) chosen.add(name);
  }
  return new Map(all.filter(([name]) => chosen.has(name)));
}

/** Gives the layers that `targets` name updates which change nothing yet. `seed` is from 0 to 2^53 - 1. */
export function addLora(
  backbone: Backbone,
  { targets, ...options }: LoraOptions & { readonly targets: readonly string[] },
  place: Placement,
  seed: number,
): LowRankUpdate[] {
  using generator = new Generator(seed);
  const updates = attachLora(loraTargets(backbone, targets).values(), options);
  for (const update of updates) update.initialise(generator, place);
  return updates;
}

/**
 * -> what training changed, with the weights that updates make in place of the updates: as an export wants it.
 *
 * @param trained read once each, as they are written
 */
export function withMergedUpdates(backbone: Backbone, trained: Iterable<TensorSource>): TensorSource[] {
  const sources = new Map([...trained].map((source) => [source.name, source]));
  const layers = new Map(namedLinears(backbone));
  return [...sources.values()].flatMap((source) => {
    const [, name, matrix] = updateName.exec(source.name) ?? [];
    if (name === undefined) return [source];
    if (matrix === "b") return [];
    const layer = layers.get(name);
    const b = sources.get(`${name}.lora.b`);
    if (!layer?.lora || !b) throw new VlRewardError("internal_error", `${name} has no whole low-rank update.`);
    const { lora, weight } = layer;
    const read = () => lora.merged(weight.stored, source.read(), b.read());
    return [{ name: `${name}.weight`, shape: weight.shape, dtype: "float32" as const, read }];
  });
}

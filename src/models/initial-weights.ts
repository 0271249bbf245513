/**
 * @file The weights of a model that is trained from nothing: transformers' scheme (matrices normally distributed, biases
 * 0, norms 1) with three scales that matter for models of a few million parameters.
 */

import path from "node:path";
import { weightFileIn } from "../checkpoint/checkpoint.ts";
import { VlRewardError } from "../errors.ts";
import { readJson } from "../files/json.ts";
import type { Parameter, Placement } from "../nn/index.ts";
import { addScalarInto, Generator, mulScalar, randn, scope, type Tensor, zeros } from "../torch/index.ts";
import type { Parts } from "./backbone.ts";
import { tiesEmbeddings } from "./heads/language.ts";
import { headDeviation } from "./heads/reward.ts";

export interface InitialWeights {
  readonly seed: number;
  /** Standard deviation of all matrices and embeddings, before the scales below. */
  readonly std: number;
  /** Times `std`, for the layer that reads pixels. */
  readonly patchEmbedScale: number;
  /** Times `std`, for the last matrix of attention and of the MLP in each block of the vision tower. */
  readonly visionOutputScale: number;
  /** Of the reward head's matrices; without it, what a new head gets on a model that is there. */
  readonly headStd?: number;
}

/** Draws every parameter, in the order given; equal for equal seeds and one version of libtorch. */
export function drawWeights(
  parameters: Iterable<readonly [name: string, Parameter]>,
  init: InitialWeights,
  place: Placement,
  parts: Pick<Parts, "initialScale">,
): void {
  using generator = new Generator(init.seed);
  for (const [name, parameter] of parameters) {
    scope(() => parameter.assign(initialValue(name, parameter.shape, init, generator, parts), place));
  }
}

function initialValue(
  name: string,
  shape: readonly number[],
  init: InitialWeights,
  generator: Generator,
  parts: Pick<Parts, "initialScale">,
): Tensor {
  if (shape.length === 1) {
    const vector = zeros(shape, "float32");
    if (!name.endsWith(".bias")) addScalarInto(vector, 1); // a norm's
    return vector;
  }
  return mulScalar(randn(shape, generator), deviationOf(name, shape, init, parts));
}

function deviationOf(
  name: string,
  shape: readonly number[],
  init: InitialWeights,
  { initialScale }: Pick<Parts, "initialScale">,
): number {
  const { std, patchEmbedScale, visionOutputScale, headStd = headDeviation(shape) } = init;
  if (name.startsWith("head.")) return headStd;
  const scale = initialScale(name);
  if (scale === undefined) return std;
  return std * (scale === "pixels" ? patchEmbedScale : visionOutputScale);
}

/**
 * Throws `config_invalid` where weights lie in the folder, which would be passed over in silence, and where the language
 * model's own head is not the embedding: it is no part of a reward model, and nothing would draw or train it.
 */
export function assertBare(folder: string): void {
  const found = weightFileIn(folder);
  if (found !== undefined) {
    throw new VlRewardError(
      "config_invalid",
      `${folder} has weights (${found}), but init draws all weights. Leave out init to begin with these, or take a folder with ` +
        "config.json, tokenizer and preprocessor files alone.",
    );
  }
  const file = path.join(folder, "config.json");
  if (tiesEmbeddings(readJson(file))) return;
  throw new VlRewardError(
    "config_invalid",
    `${file}: tie_word_embeddings is not true. A model that is trained from nothing has its embeddings as language head; ` +
      'add "tie_word_embeddings": true.',
  );
}

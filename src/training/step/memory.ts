/** @file What a training pass may hold: how many tokens go through the model at once, and whether layers are kept. */
import type { Shape } from "../../models/backbone.ts";

export interface TrainingMemory {
  readonly tokenBudget: number;
  readonly checkpointing: boolean;
  /** For pictures that do not change while training. */
  readonly featureCache: number;
}

/** More tokens in a stream make nothing faster on a CPU; fewer than `fewest` waste it. */
const tokens = { fewest: 512, most: 4096 };

/**
 * Layers are kept as long as a stream of `tokens.most` fits in half of the memory with them; with checkpointing as many
 * tokens as fit.
 *
 * @param bytes that are free once weights, gradients and the optimizer's state are there
 * @param asked what the configuration settles; `logits`: whether language modelling is among what it asks for
 */
export function planTrainingMemory(
  shape: Shape,
  bytesPerElement: number,
  bytes: number,
  asked: { tokenBudget?: number | undefined; checkpointing: boolean | "auto"; logits: boolean },
): TrainingMemory {
  const half = bytes / 2;
  const { kept, checkpointed } = tokenBytes(shape, bytesPerElement, asked.logits);
  const wanted = asked.tokenBudget ?? tokens.most;
  const checkpointing = asked.checkpointing === "auto" ? wanted * kept > half : asked.checkpointing;
  const fitting = Math.floor(half / (checkpointing ? checkpointed : kept) / 256) * 256;
  return {
    tokenBudget: asked.tokenBudget ?? Math.max(tokens.fewest, Math.min(tokens.most, fitting)),
    checkpointing,
    featureCache: Math.floor(bytes / 4),
  };
}

/**
 * What the graph holds for a token: of all layers, or of one and every layer's input; and its numbers for the vocabulary, as if
 * it were an answer's. They are gone before a layer is computed again.
 */
function tokenBytes({ decoder }: Shape, width: number, logits: boolean): { kept: number; checkpointed: number } {
  const { hidden, intermediate, layers, headWidth } = decoder;
  const [query, keyValue] = [headWidth * decoder.heads, headWidth * decoder.keyValueHeads];
  const attention = 3 * hidden + 9 * query + 8 * keyValue; // norm, queries, their rotation, padded and joined copies, output
  const mlp = 2 * hidden + 4 * intermediate; // norm, gate, its activation, up, product
  const layer = width * (attention + mlp);
  // Logits and their gradient as computed; in float32, where that is another, once more; their log-softmax.
  const vocabulary = logits ? decoder.vocabulary * (width === 4 ? 12 : 2 * width + 12) : 0;
  return {
    kept: layers * layer + vocabulary,
    checkpointed: Math.max(2 * layer, vocabulary) + layers * width * hidden,
  };
}

/** @file A prompt and one of its answers as one sequence: what the reference computes, without sharing anything. */
import { type TokenStream, unrecorded } from "../src/models/backbone.ts";
import type { Features } from "../src/models/features.ts";
import type { GroupPrompt, Span, Visual } from "../src/models/prompt.ts";
import { Qwen25VL } from "../src/models/qwen2_5_vl/model.ts";
import type { RewardModel } from "../src/models/reward-model.ts";
import { PackedAttention } from "../src/nn/attention/packed-attention.ts";
import { runLayers } from "../src/nn/index.ts";
import { narrow, type Tensor } from "../src/torch/index.ts";

export interface Conversation {
  readonly sequence: TokenStream;
  readonly visuals: readonly Visual[]; // in the order of their places
}

/** Puts a prefix and one of its branches together again. */
export function wholeConversation({ prefix, visuals }: GroupPrompt, branch: Span): Conversation {
  const [p, b] = [prefix.ids.length, branch.ids.length];
  const positions = [0, 1, 2].flatMap((axis) => [
    ...prefix.positions.subarray(axis * p, (axis + 1) * p),
    ...branch.positions.subarray(axis * b, (axis + 1) * b),
  ]);
  return {
    sequence: {
      ids: Int32Array.from([...prefix.ids, ...branch.ids]),
      positions: Int32Array.from(positions),
      visualPlaces: Int32Array.from([...prefix.visualPlaces, ...branch.visualPlaces.map((place) => place + p)]),
    },
    visuals: [...prefix.visuals, ...branch.visuals].flatMap((index) => visuals[index] ?? []),
  };
}

/** Every token attending to those before it. Belongs to the surrounding scope, as all of these do. */
export const plainAttention = (tokens: number): PackedAttention =>
  new PackedAttention([{ prefix: { start: 0, length: tokens }, branches: [] }], { dtype: "float32", device: "cpu" });

/** What the decoder reads of a conversation's pictures and videos. */
export function featuresOf({ backbone: { vision } }: RewardModel, visuals: readonly Visual[]): Features | undefined {
  return vision && visuals.length > 0 ? vision.merge(vision.encode(visuals, runLayers)) : undefined;
}

/** -> hidden states after the final norm [tokens, hidden] */
export function plainHidden(model: RewardModel, { sequence, visuals }: Conversation): Tensor {
  const attention = plainAttention(sequence.ids.length);
  return model.backbone.forwardAll(sequence, featuresOf(model, visuals), attention, unrecorded);
}

/** -> the reward of the conversation [1], read at its last token */
export const plainReward = (model: RewardModel, conversation: Conversation): Tensor =>
  model.head.forward(narrow(plainHidden(model, conversation), 0, conversation.sequence.ids.length - 1, 1));

/** The backbone as the first family's own class: for comparisons of its inner parts. */
export function qwenOf({ backbone }: RewardModel): Qwen25VL {
  if (backbone instanceof Qwen25VL) return backbone;
  throw new Error("expected a Qwen2.5-VL");
}

/** @file A prompt and one of its answers as one sequence: what the reference computes, without sharing anything. */
import type { Sequence } from "../src/models/qwen2_5_vl/model.ts";
import type { GroupPrompt, Span, Visual } from "../src/models/qwen2_5_vl/processor.ts";

export interface Conversation {
  readonly sequence: Sequence;
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

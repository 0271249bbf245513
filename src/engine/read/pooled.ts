/**
 * @file Embeddings: what the last layer makes of a prompt, an answer or both, as one vector. For finding what is alike; a
 * reward model's are no worse for that than a language model's, and they see the pictures.
 */
import { type Tensor, toDtype } from "../../torch/index.ts";
import { rowsOf } from "../pass/stream.ts";
import type { Reader, ReadRequest } from "./reader.ts";
import { branchRows } from "./reward.ts";

export const pooledReader = ({
  over,
  how,
  normalise,
}: Omit<Extract<ReadRequest, { kind: "pooled" }>, "kind">): Reader<Float32Array> => ({
  rows: over === "answer" ? "branch" : "conversation",
  read: ({ all, rows }, branches, asked) => {
    if (!all) return [];
    return asked.map((branch) => {
      const conversation = rows[branch] ?? new Int32Array(0);
      const answer = branches[branch]?.ids.length ?? 0;
      const wanted = {
        conversation,
        answer: branchRows(conversation, answer),
        prompt: conversation.subarray(0, conversation.length - answer),
      }[over];
      const vector = how === "last" ? lastOf(all, wanted) : meanOf(all, wanted);
      return normalise ? unit(vector) : vector;
    });
  },
});

const lastOf = (all: Tensor, rows: Int32Array): Float32Array =>
  toDtype(rowsOf(all, [rows.subarray(-1)]), "float32").toFloat32Array();

/** Summed in double precision, token after token: the same bits whatever else is in the stream. */
function meanOf(all: Tensor, rows: Int32Array): Float32Array {
  const states = toDtype(rowsOf(all, [rows]), "float32").toFloat32Array();
  const hidden = all.size(1);
  const sums = new Float64Array(hidden);
  for (const [index, value] of states.entries()) sums[index % hidden] = (sums[index % hidden] ?? 0) + value;
  return Float32Array.from(sums, (sum) => sum / rows.length);
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value ** 2, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}

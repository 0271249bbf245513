/**
 * @file How likely the language model finds an answer: the log-probability of each of its tokens given all before it (teacher
 * forcing), and their sum.
 */
import { crossEntropyLoss, neg, scope, type Tensor, tensorFrom } from "../../torch/index.ts";
import { logitsOf } from "./logits.ts";
import type { Reader, ReadModel } from "./reader.ts";
import { branchRows } from "./reward.ts";

/** Rows of logits that are held at once: of a vocabulary of 152,064, 256 rows are 156 MB in float32. */
const rowsAtOnce = 256;

/** 2 of PyTorch's reductions would sum; 0 gives each token its own. */
const noReduction = 0;

export const logProbsReader = ({
  languageHead,
}: Pick<ReadModel, "languageHead">): Reader<{ readonly sum: number; readonly each: Float32Array }> => ({
  rows: "branch",
  read: ({ all, rows }, branches, asked) => {
    if (!all) return [];
    const { weight } = languageHead();
    return asked.map((branch) => {
      const { ids, answerTokens } = branches[branch] ?? {
        ids: new Int32Array(0),
        answerTokens: { header: 0, end: -1 },
      };
      const { header, end } = answerTokens;
      const until = ids.lastIndexOf(end) + 1;
      const own = branchRows(rows[branch], ids.length);
      // The token before says how likely a token is.
      const each = logProbs(all, weight, own.subarray(header - 1, until - 1), ids.subarray(header, until));
      return { sum: each.reduce((sum, value) => sum + value, 0), each };
    });
  },
});

/** @param before where the hidden state is that each of `targets` follows from */
function logProbs(all: Tensor, weight: Tensor, before: Int32Array, targets: Int32Array): Float32Array {
  const each = new Float32Array(targets.length);
  for (let from = 0; from < targets.length; from += rowsAtOnce) {
    const some = targets.subarray(from, from + rowsAtOnce);
    const found = scope(() => {
      const logits = logitsOf(all, before.subarray(from, from + some.length), weight);
      const target = tensorFrom(BigInt64Array.from(some, BigInt), [some.length], "int64", logits.device);
      return neg(crossEntropyLoss(logits, target, null, noReduction)).toFloat32Array();
    });
    each.set(found, from);
  }
  return each;
}

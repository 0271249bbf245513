/** @file What could come next: the language head's numbers for each token of the vocabulary, at some tokens of a branch. */
import { VlRewardError } from "../../errors.ts";
import { logitsOf } from "./logits.ts";
import type { Reader, ReadModel } from "./reader.ts";
import { branchRows } from "./reward.ts";

/** Throws `invalid_record` where a branch has no such position. */
export const nextTokenReader = (
  { languageHead }: Pick<ReadModel, "languageHead">,
  positions: readonly number[],
): Reader<Float32Array> => ({
  rows: "branch",
  read: ({ all, rows }, branches, asked) => {
    if (!all) return [];
    return asked.map((branch) => {
      const own = branchRows(rows[branch], branches[branch]?.ids.length ?? 0);
      const wanted = Int32Array.from(positions, (position) => rowAt(own, position));
      return logitsOf(all, wanted, languageHead().weight).toFloat32Array();
    });
  },
});

function rowAt(own: Int32Array, position: number): number {
  const row = Number.isInteger(position) ? own.at(position) : undefined;
  if (row !== undefined) return row;
  throw new VlRewardError(
    "invalid_record",
    `nextToken: position ${position} of an answer whose branch has ${own.length} tokens; expected a whole number from ` +
      `${-own.length} to ${own.length - 1}`,
  );
}

/** @file What could come next: the language head's numbers for each token of the vocabulary, at some tokens of a branch. */
import { linear, toDtype } from "../../torch/index.ts";
import { rowsOf } from "../pass/stream.ts";
import type { Reader, ReadModel } from "./reader.ts";
import { branchRows } from "./reward.ts";

export const nextTokenReader = (
  { languageHead }: Pick<ReadModel, "languageHead">,
  positions: readonly number[],
): Reader<Float32Array> => ({
  rows: "branch",
  read: ({ all, rows }, branches, asked) => {
    if (!all) return [];
    return asked.map((branch) => {
      const own = branchRows(rows[branch], branches[branch]?.ids.length ?? 0);
      const wanted = Int32Array.from(positions, (position) => own.at(position) ?? 0);
      return toDtype(linear(rowsOf(all, [wanted]), languageHead().weight), "float32").toFloat32Array();
    });
  },
});

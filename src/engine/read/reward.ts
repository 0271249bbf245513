/** @file Rewards: of the whole answer, and at each of its tokens. */
import { indexSelect, narrow, type Tensor, tensorFrom } from "../../torch/index.ts";
import type { Reader, ReadModel } from "./reader.ts";

export const rewardReader = ({ head }: Pick<ReadModel, "head">): Reader<number> => ({
  rows: "end",
  read: ({ ends }, _, asked) => {
    const rewards = head.forward(ends).toFloat32Array();
    return asked.map((branch) => rewards[branch] ?? Number.NaN);
  },
});

/** What the head says at a token depends on the tokens up to it: where it falls, an answer goes wrong. */
export const rewardsReader = ({ head }: Pick<ReadModel, "head">): Reader<Float32Array> => ({
  rows: "branch",
  read: ({ all, rows }, branches, asked) => {
    if (!all || asked.length === 0) return [];
    const own = asked.map((branch) => branchRows(rows[branch], branches[branch]?.ids.length ?? 0));
    const rewards = head.forward(rowsOf(all, own)).toFloat32Array();
    let start = 0;
    return own.map(({ length }) => {
      start += length;
      return rewards.slice(start - length, start);
    });
  },
});

/** -> where a branch's own tokens are: the last of its conversation's */
export const branchRows = (rows: Int32Array = new Int32Array(0), length: number): Int32Array =>
  rows.subarray(rows.length - length);

/** -> these rows one below the other [rows of all, hidden] */
export function rowsOf(all: Tensor, rows: readonly Int32Array[]): Tensor {
  const [first] = rows;
  if (first && rows.length === 1 && isRun(first)) return narrow(all, 0, first[0] ?? 0, first.length);
  const index = Int32Array.from(rows.flatMap((own) => [...own]));
  return indexSelect(all, 0, tensorFrom(index, [index.length], "int32", all.device));
}

const isRun = (rows: Int32Array): boolean => rows.every((row, at) => row === (rows[0] ?? 0) + at);

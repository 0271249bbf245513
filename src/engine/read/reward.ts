/** @file Rewards: of the whole answer, and at each of its tokens. */
import { rowsOf } from "../pass/stream.ts";
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

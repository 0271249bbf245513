/** @file A stream of groups run through a backbone: hidden states, and where each conversation's are among them. */
import type { Backbone, Recording } from "../../models/backbone.ts";
import type { Features } from "../../models/features.ts";
import type { PrefixListener } from "../../nn/attention/packed-attention.ts";
import { attentionOver } from "../../nn/attention/packed-attention-varlen.ts";
import { type Device, type Dtype, indexSelect, narrow, type Tensor, tensorFrom } from "../../torch/index.ts";
import type { GroupStream } from "./layout.ts";

/** What a pass has computed of some conversations, its members. */
export interface Hidden {
  /** After the final norm, of the last token of each member [members, hidden]; rows beyond them are padding. */
  readonly ends: Tensor;
  /** Of all tokens [tokens, hidden], where all were read. */
  readonly all?: Tensor;
  /** For each member, where its tokens are in `all`; those of its branch come last. */
  readonly rows: readonly Int32Array[];
}

/** Where a model computes, and in what. */
export interface Place {
  readonly device: Device;
  readonly dtype: Dtype;
}

/**
 * Hidden states of a stream's branches, in its order.
 *
 * @param features of the pictures that stand in it, one below the other
 * @param read whether only each branch's last token is read on in the last layer, or every token
 * @param onPrefix is told each prefix's keys and values, as PackedAttention says
 */
export function forwardGroups(
  backbone: Backbone,
  place: Place,
  stream: GroupStream,
  features: Features | undefined,
  how: Recording,
  read: "ends" | "all",
  onPrefix?: PrefixListener,
): Hidden {
  const { headWidth } = backbone.shape.decoder;
  const attention = attentionOver(stream.groups, { ...place, headWidth }, onPrefix);
  const rows = stream.branches;
  if (read === "ends") return { ends: backbone.forwardEnds(stream, features, attention, stream.rows, how), rows };
  const all = backbone.forwardAll(stream, features, attention, how);
  return { ends: endsOf(all, rows), all, rows };
}

/** -> the last row of each member */
export const endsOf = (all: Tensor, rows: readonly Int32Array[]): Tensor =>
  rowsOf(
    all,
    rows.map((own) => own.subarray(-1)),
  );

/** -> these rows one below the other [rows of all, hidden] */
export function rowsOf(all: Tensor, rows: readonly Int32Array[]): Tensor {
  const [first] = rows;
  if (first && rows.length === 1 && isRun(first)) return narrow(all, 0, first[0] ?? 0, first.length);
  const index = Int32Array.from(rows.flatMap((own) => [...own]));
  return indexSelect(all, 0, tensorFrom(index, [index.length], "int32", all.device));
}

const isRun = (rows: Int32Array): boolean => rows.every((row, at) => row === (rows[0] ?? 0) + at);

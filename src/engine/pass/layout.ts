/** @file The pieces of a plan side by side: one stream of tokens, as the model reads it. */

import type { Visual } from "../../models/prompt.ts";
import type { KeyValues, PackedGroup, Run } from "../../nn/attention/packed-attention.ts";
import { steadyRows } from "../../nn/index.ts";
import type { Piece, PromptWork, Stretch } from "./plan.ts";

/** Rows of the features of some visuals, put one below the other. */
export interface FeatureRows {
  readonly visuals: readonly Visual[];
  readonly from: number;
  readonly until: number;
}

export interface GroupStream {
  readonly ids: Int32Array; // [tokens]
  readonly positions: Int32Array; // [3, tokens]
  readonly visualPlaces: Int32Array; // [visual tokens]
  /** What stands at these places, in order. */
  readonly features: readonly FeatureRows[];
  /** One per piece, in order; then one of padding where the tokens are not as many as matrix products want. */
  readonly groups: readonly PackedGroup[];
  /** The last token of every branch; then padding, likewise. */
  readonly rows: Int32Array;
  /** For every branch, where its conversation's tokens stand, as far as they are in the stream. */
  readonly branches: readonly Int32Array[];
}

/** @param before the keys and values of a prompt's prefix as far as they have been computed */
export function layOut(
  pieces: readonly Piece[],
  before: (work: PromptWork) => readonly KeyValues[] | undefined,
): GroupStream {
  const tokens = new TokenList();
  const rows: number[] = [];
  const conversations: Int32Array[] = [];
  const groups = pieces.map(({ work, from, until, branches }): PackedGroup => {
    const earlier = from > 0 ? before(work) : undefined;
    const prefix = tokens.append(work.prefix, from, until);
    const runs = branches.map((branch) => tokens.append(branch, 0, branch.span.ids.length));
    for (const run of runs) {
      rows.push(run.start + run.length - 1);
      conversations.push(Int32Array.from([...tokensOf(prefix), ...tokensOf(run)]));
    }
    return { prefix, ...(earlier && { before: earlier }), branches: runs };
  });
  const padding = tokens.pad();
  if (padding.length > 0) groups.push({ prefix: padding, branches: [] });
  rows.push(...new Array<number>(steadyRows(rows.length) - rows.length).fill(0));
  return { ...tokens.finish(), groups, rows: Int32Array.from(rows), branches: conversations };
}

const tokensOf = ({ start, length }: Run): number[] => Array.from({ length }, (_, offset) => start + offset);

class TokenList {
  readonly #ids: number[] = [];
  readonly #axes: readonly [number[], number[], number[]] = [[], [], []];
  readonly #places: number[] = [];
  readonly #features: FeatureRows[] = [];

  /** Adds the tokens of a stretch from `from` to `until`. */
  append({ span, visuals }: Stretch, from: number, until: number): Run {
    const start = this.#ids.length;
    const tokens = span.ids.length;
    for (let token = from; token < until; token++) {
      this.#ids.push(span.ids[token] ?? 0);
      for (const [axis, positions] of this.#axes.entries()) positions.push(span.positions[axis * tokens + token] ?? 0);
    }
    const rows = { from: span.visualPlaces.findIndex((place) => place >= from), count: 0 };
    for (const place of span.visualPlaces) {
      if (place < from || place >= until) continue;
      this.#places.push(start + place - from);
      rows.count++;
    }
    if (rows.count > 0) this.#features.push({ visuals, from: rows.from, until: rows.from + rows.count });
    return { start, length: until - from };
  }

  /** Fills up with tokens that nobody reads. */
  pad(): Run {
    const start = this.#ids.length;
    while (this.#ids.length < steadyRows(start)) {
      this.#ids.push(0);
      for (const positions of this.#axes) positions.push(0);
    }
    return { start, length: this.#ids.length - start };
  }

  finish(): Pick<GroupStream, "ids" | "positions" | "visualPlaces" | "features"> {
    return {
      ids: Int32Array.from(this.#ids),
      positions: Int32Array.from(this.#axes.flat()),
      visualPlaces: Int32Array.from(this.#places),
      features: this.#features,
    };
  }
}

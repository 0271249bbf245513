import { expect, test } from "vitest";
import type { GroupPrompt, Span, Visual } from "../../models/prompt.ts";
import { mergeGroups, type Piece, planStreams } from "./plan.ts";

const block = 8;
const answerTokens = { header: 1, end: 0 };

function span(ids: readonly number[], visuals: readonly number[] = []): Span {
  const none = new Int32Array();
  return { ids: Int32Array.from(ids), positions: new Int32Array(3 * ids.length), visualPlaces: none, visuals };
}

const visual = (key: string): Visual => ({
  key,
  tokens: 1,
  patches: 4,
  secondsPerGrid: 0,
  pixels: new Uint8Array(),
  levels: new Float32Array(),
  grid: { t: 1, h: 2, w: 2 },
});

/** A prompt of `prefix` equal tokens and answers of the given lengths, all different. */
function group(prefix: number, answers: readonly number[], token = 1): GroupPrompt {
  return {
    prefix: span(new Array<number>(prefix).fill(token)),
    branches: answers.map((length, index) => span(Array.from({ length }, () => 100 + index))),
    visuals: [],
    answerTokens,
  };
}

const tokensOf = (stream: readonly Piece[]): number =>
  stream.reduce(
    (sum, { from, until, branches }) =>
      branches.reduce((tokens, branch) => tokens + branch.span.ids.length, sum + until - from),
    0,
  );

test("equal prompts are joined and equal answers computed once; every reader is named once", () => {
  const twice = group(5, [3, 4]);
  const works = mergeGroups([twice, group(6, [3]), group(5, [3, 9])]);
  expect(works.map(({ branches }) => branches.map(({ readers }) => readers))).toEqual([
    [
      [
        { group: 0, branch: 0 },
        { group: 2, branch: 0 },
      ],
      [{ group: 0, branch: 1 }],
      [{ group: 2, branch: 1 }],
    ],
    [[{ group: 1, branch: 0 }]],
  ]);
});

test("the same tokens over another picture are another prompt", () => {
  const shown = (key: string): GroupPrompt => ({
    prefix: span([7, 7], [0]),
    branches: [span([1])],
    visuals: [visual(key)],
    answerTokens,
  });
  expect(mergeGroups([shown("a"), shown("b"), shown("a")])).toHaveLength(2);
});

test.each([1, 8, 20, 64, 1000])("a budget of %i: everything is computed once, in order, within it", (budget) => {
  const groups = [group(5, [3, 4], 1), group(30, [2, 2, 40], 2), group(3, [1], 3), group(70, [9], 4), group(2, [2], 5)];
  const works = mergeGroups(groups);
  const streams = planStreams(works, () => 0, budget, block);
  for (const stream of streams) {
    const single = stream.length === 1 && (stream[0]?.branches.length ?? 0) <= 1;
    if (!single) expect(tokensOf(stream)).toBeLessThanOrEqual(budget);
    expect(tokensOf(stream)).toBeGreaterThan(0);
  }
  const pieces = streams.flat();
  for (const work of works) {
    const own = pieces.filter((piece) => piece.work === work);
    expect(own.flatMap(({ branches }) => branches)).toEqual(work.branches);
    let next = 0;
    for (const { from, until } of own) {
      expect(from).toBe(next);
      next = until;
      if (until < work.prefix.span.ids.length) expect(until % block).toBe(0);
    }
    expect(next).toBe(work.prefix.span.ids.length);
    // What one piece leaves behind the next one needs: they cannot run side by side.
    for (const stream of streams) expect(stream.filter((piece) => piece.work === work).length).toBeLessThanOrEqual(1);
  }
});

test("a prefix that is known is not computed again", () => {
  const works = mergeGroups([group(30, [2, 2])]);
  const streams = planStreams(works, (work) => work.prefix.span.ids.length, 1000, block);
  expect(streams).toHaveLength(1);
  expect(streams[0]?.[0]).toMatchObject({ from: 30, until: 30 });
});

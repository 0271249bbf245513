import { describe, expect, test } from "vitest";
import type { GroupPrompt, Span, Visual } from "../../models/prompt.ts";
import { type Conversation, layOutTrees, treeKey } from "./token-tree.ts";

const placeholder = 99;
const answerTokens = { header: 1, end: 0 };

function picture(key: string, h: number, w: number): Visual {
  return {
    key,
    tokens: (h * w) / 4,
    patches: h * w,
    secondsPerGrid: 0,
    grid: { t: 1, h, w },
    pixels: new Uint8Array(),
    levels: new Float32Array(),
  };
}

/** A stretch of tokens; a visual stands as itself. Positions are made of the tokens before, as rope positions are. */
function span(parts: readonly (number | Visual)[], first: number, visuals: Visual[]): Span {
  const ids: number[] = [];
  const places: number[] = [];
  const used: number[] = [];
  for (const part of parts) {
    if (typeof part === "number") {
      ids.push(part);
      continue;
    }
    used.push(visuals.push(part) - 1);
    for (let token = 0; token < part.tokens; token++) {
      places.push(ids.length);
      ids.push(placeholder);
    }
  }
  const positions = [0, 1, 2].flatMap((axis) => ids.map((_, token) => 10 * (first + token) + axis));
  return {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(positions),
    visualPlaces: Int32Array.from(places),
    visuals: used,
  };
}

function prompt(prefix: readonly (number | Visual)[], branches: readonly (readonly number[])[]): GroupPrompt {
  const visuals: Visual[] = [];
  const before = span(prefix, 0, visuals);
  return {
    prefix: before,
    branches: branches.map((ids) => span(ids, before.ids.length, visuals)),
    visuals,
    answerTokens,
  };
}

const conversationsOf = (prompts: readonly GroupPrompt[]): Conversation[] =>
  prompts.flatMap((one) => one.branches.map((_, branch) => ({ prompt: one, branch })));

/** What a conversation's tokens are when it stands alone. */
function alone({ prompt: { prefix, branches }, branch }: Conversation) {
  const spans = [prefix, branches[branch] as Span];
  return {
    ids: spans.flatMap(({ ids }) => [...ids]),
    positions: [0, 1, 2].map((axis) =>
      spans.flatMap(({ ids, positions }) => [...positions.subarray(axis * ids.length, (axis + 1) * ids.length)]),
    ),
  };
}

const shapes = picture("shapes", 4, 4);
const chart = picture("chart", 2, 4);

describe("a tree", () => {
  const about = [
    prompt(
      [1, shapes, 5, 6],
      [
        [7, 8],
        [7, 9, 9],
        [7, 8],
      ],
    ),
    prompt([1, shapes, 5, 7], [[8], [8, 1]]),
    prompt([1, shapes], [[5, 6, 7, 8, 8]]),
  ];
  const conversations = conversationsOf(about);
  const tree = layOutTrees([conversations]);

  test("holds every conversation's tokens and positions, in their order", () => {
    for (const [index, conversation] of conversations.entries()) {
      const rows = [...(tree.rows[index] ?? [])];
      const { ids, positions } = alone(conversation);
      expect(rows.map((row) => tree.ids[row])).toEqual(ids);
      for (const [axis, expected] of positions.entries()) {
        expect(rows.map((row) => tree.positions[axis * tree.ids.length + row])).toEqual(expected);
      }
    }
  });

  test("holds what they have in common once", () => {
    // 1, four visual tokens, then 5 6 7 8 8 | (7) 9 9 | 5 7 8 1 with all that is equal joined
    expect(tree.ids.length).toBe(1 + 4 + 5 + 2 + 3);
    expect(tree.visuals).toEqual([shapes]);
    expect([...tree.visualPlaces]).toEqual([1, 2, 3, 4]);
    expect(tree.rows[0]).toEqual(tree.rows[2]); // equal answers are one
  });

  test("lets each token see the tokens of its own conversation before it, and no others", () => {
    const [nodes = []] = tree.trees;
    const seen = (row: number): number[] => {
      const own = nodes.findIndex(({ run }) => row >= run.start && row < run.start + run.length);
      const rows: number[] = [];
      for (let node = nodes[own]; node; node = nodes[node.parent]) {
        for (let at = node.run.start; at < node.run.start + node.run.length && at <= row; at++) rows.push(at);
      }
      return rows.sort((a, b) => a - b);
    };
    for (const rows of tree.rows) {
      for (const [at, row] of rows.entries())
        expect(seen(row)).toEqual([...rows.slice(0, at + 1)].sort((a, b) => a - b));
    }
  });
});

test("another picture, and equal tokens behind it, are another tree's", () => {
  const [first, second] = [prompt([1, shapes, 5], [[7]]), prompt([1, chart, 5], [[7]])];
  expect(treeKey(first)).not.toBe(treeKey(second));
  const { trees, rows, visuals, visualPlaces } = layOutTrees([conversationsOf([first]), conversationsOf([second])]);
  expect(trees.length).toBe(2);
  expect([...(rows[1] ?? [])]).toEqual([7, 8, 9, 10, 11]);
  expect(visuals).toEqual([shapes, chart]);
  expect([...visualPlaces]).toEqual([1, 2, 3, 4, 8, 9]);
});

test("placeholders of two pictures are not taken for each other", () => {
  const conversations = conversationsOf([prompt([1, shapes, chart], [[2]]), prompt([1, shapes, shapes], [[2]])]);
  const { ids, visuals } = layOutTrees([conversations]);
  expect(visuals).toEqual([shapes, chart, shapes]);
  expect(ids.length).toBe(1 + 4 + (2 + 1) + (4 + 1));
});

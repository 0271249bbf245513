/**
 * @file What one pass computes: groups with one prompt become one, equal answers are computed once, and what has to be
 * computed is laid out as streams of tokens within a budget.
 */
import { createHash } from "node:crypto";
import type { AnswerTokens, GroupPrompt, Span, Visual } from "../../models/prompt.ts";

/** A stretch of tokens with the pictures and videos that stand in it. */
export interface Stretch {
  readonly span: Span;
  readonly visuals: readonly Visual[];
}

/** A branch and who asked for it. */
export interface BranchWork extends Stretch {
  readonly answerTokens: AnswerTokens;
  readonly readers: readonly { readonly group: number; readonly branch: number }[];
}

/** One prompt and all distinct answers to it in this pass. */
export interface PromptWork {
  /** A hash of the prefix: equal keys have equal keys and values in every layer. */
  readonly key: string;
  readonly prefix: Stretch;
  readonly branches: readonly BranchWork[];
}

/** Joins what is equal. Prompts and answers keep the order of their first appearance. */
export function mergeGroups(groups: readonly GroupPrompt[]): PromptWork[] {
  const prompts = new Map<string, { prefix: Stretch; branches: Map<string, BranchWork & { readers: object[] }> }>();
  for (const [group, { prefix, branches, visuals, answerTokens }] of groups.entries()) {
    const prefixStretch = stretchOf(prefix, visuals);
    const key = keyOf(prefixStretch);
    const prompt = prompts.get(key) ?? { prefix: prefixStretch, branches: new Map() };
    prompts.set(key, prompt);
    for (const [branch, span] of branches.entries()) {
      const stretch = stretchOf(span, visuals);
      const branchKey = keyOf(stretch);
      const work = prompt.branches.get(branchKey) ?? { ...stretch, answerTokens, readers: [] };
      work.readers.push({ group, branch });
      prompt.branches.set(branchKey, work);
    }
  }
  return [...prompts].map(([key, { prefix, branches }]) => ({ key, prefix, branches: [...branches.values()] }));
}

/** What a group adds to a pass at most. */
export function promptTokens({ prefix, branches }: GroupPrompt): number {
  return branches.reduce((sum, { ids }) => sum + ids.length, prefix.ids.length);
}

/** Of its pictures and videos, those that come again once. */
export function promptBytes({ visuals }: GroupPrompt): number {
  return [...new Set(visuals.map(({ pixels }) => pixels))].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** -> the key of the PromptWork that a group becomes part of */
export function promptKey({ prefix, visuals }: GroupPrompt): string {
  return keyOf(stretchOf(prefix, visuals));
}

function stretchOf(span: Span, visuals: readonly Visual[]): Stretch {
  const own = span.visuals.map((index) => visuals[index]).filter((visual) => visual !== undefined);
  return { span, visuals: own };
}

function keyOf({ span, visuals }: Stretch): string {
  const hash = createHash("sha256").update(span.ids);
  for (const { key } of visuals) hash.update(key);
  return hash.digest("base64url");
}

/** A part of a prompt's work that one stream computes. */
export interface Piece {
  readonly work: PromptWork;
  /** Tokens of the prefix: those before `from` were computed by an earlier stream or pass. */
  readonly from: number;
  readonly until: number;
  readonly branches: readonly BranchWork[];
}

/**
 * Lays work out as streams of at most `budget` tokens. A prompt that is larger than that is cut: first its prefix, at
 * multiples of `block`, then its branches, some at a time. Only a single branch, or a block, can exceed the budget.
 *
 * @param computed how many tokens of a prompt's prefix need not be computed again: none or all of them
 */
export function planStreams(
  prompts: readonly PromptWork[],
  computed: (work: PromptWork) => number,
  budget: number,
  block: number,
): Piece[][] {
  const streams: Piece[][] = [];
  let stream: Piece[] = [];
  let filled = 0;
  const finish = (): void => {
    if (stream.length > 0) streams.push(stream);
    stream = [];
    filled = 0;
  };
  const place = (piece: Piece, tokens: number): void => {
    if (filled > 0 && filled + tokens > budget) finish();
    stream.push(piece);
    filled += tokens;
  };
  for (const work of prompts) {
    const from = computed(work);
    const until = work.prefix.span.ids.length;
    const tokens = until - from + tokensOf(work.branches);
    if (tokens <= budget) {
      place({ work, from, until, branches: work.branches }, tokens);
      continue;
    }
    // Each piece of a cut prompt needs the keys and values of the one before: none shares a stream with another of its own.
    finish();
    const chunk = Math.max(block, Math.floor(budget / block) * block);
    for (let start = from; start < until; start += chunk) {
      const end = Math.min(start + chunk, until);
      streams.push([{ work, from: start, until: end, branches: [] }]);
    }
    for (const branches of inBatches(work.branches, ({ span }) => span.ids.length, budget)) {
      streams.push([{ work, from: until, until, branches }]);
    }
  }
  finish();
  return streams;
}

const tokensOf = (branches: readonly BranchWork[]): number =>
  branches.reduce((sum, { span }) => sum + span.ids.length, 0);

/** Cuts a list, in order, into batches that weigh at most `budget`, or hold one item that weighs more. */
export function inBatches<T>(items: readonly T[], weight: (item: T) => number, budget: number): T[][] {
  const batches: T[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const own = weight(item);
    if (filled + own > budget) {
      batches.push([]);
      filled = 0;
    }
    batches.at(-1)?.push(item);
    filled += own;
  }
  return batches;
}

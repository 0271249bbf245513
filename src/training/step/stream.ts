/**
 * @file Conversations put together for one forward pass: which tokens, and who sees whom. Those about small pictures and short
 * prompts become trees, in which everything that they have in common stands once; longer ones groups of a prompt and its
 * answers, for which scoring has its kernels.
 */

import { layOut } from "../../engine/pass/layout.ts";
import { inBatches, mergeGroups, type Piece, type PromptWork, promptTokens } from "../../engine/pass/plan.ts";
import type { GroupPrompt, Visual } from "../../models/prompt.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import { TreeAttention } from "../../nn/attention/tree-attention.ts";
import type { LayerRunner, RowGradients } from "../../nn/index.ts";
import { indexSelect, type Tensor, tensorFrom } from "../../torch/index.ts";
import { type Conversation, layOutTrees, treeKey } from "./token-tree.ts";

/** A conversation of a batch: a branch of one of its groups. */
export interface Member {
  readonly group: number;
  readonly branch: number;
}

/** What one pass computes. */
export interface Stream {
  /** Whose conversations; several can be the same one. */
  readonly members: readonly Member[];
  /** Pictures and videos in the order in which they stand. */
  readonly visuals: readonly Visual[];
  /** -> hidden states after the final norm, as `read` says */
  forward(features: Tensor | undefined, how: Recording, read: "ends" | "all"): Hidden;
}

/** How a pass records what its backward pass needs. */
export interface Recording {
  readonly run: LayerRunner;
  readonly lookUp: RowGradients["lookUp"];
}

export interface Hidden {
  /** Of the last token of each member [members, hidden]; rows beyond them are padding. */
  readonly ends: Tensor;
  /** Of all tokens [tokens, hidden], where all were read. */
  readonly all?: Tensor;
  /** For each member, where its tokens are in `all`. */
  readonly rows: readonly Int32Array[];
}

export interface StreamOptions {
  /** Tokens of one stream; a single prompt with its answers may exceed it. */
  readonly tokenBudget: number;
  /** Conversations whose tokens are at most so many together become a tree. */
  readonly treeTokens: number;
  /** Whether answers to one prompt share its computation. */
  readonly sharing: boolean;
  readonly sizeOf: (visual: Visual) => number;
}

/** What has to be computed together: answers to one prompt, whose pairs the loss compares. */
interface Unit {
  readonly works: readonly PromptWork[];
  readonly tokens: number;
}

/** As many units a stream as fit: the graph of one cannot reach over two. */
export function planStreams(model: RewardModel, prompts: readonly GroupPrompt[], options: StreamOptions): Stream[] {
  const documents = new Map<string, { conversations: (Conversation & Member)[]; tokens: number }>();
  const large: { prompt: GroupPrompt; group: number }[] = [];
  for (const [group, prompt] of prompts.entries()) {
    const tokens = promptTokens(prompt);
    const key = treeKey(prompt);
    const document = documents.get(key) ?? { conversations: [], tokens: 0 };
    if (!options.sharing || document.tokens + tokens > options.treeTokens) {
      large.push({ prompt, group });
      continue;
    }
    document.tokens += tokens;
    for (const branch of prompt.branches.keys()) document.conversations.push({ prompt, group, branch });
    documents.set(key, document);
  }
  const trees = inBatches([...documents.values()], ({ tokens }) => tokens, options.tokenBudget).map((batch) =>
    treeStream(
      model,
      batch.map(({ conversations }) => conversations),
      options.sizeOf,
    ),
  );
  return [...trees, ...groupStreams(model, large, options)];
}

function treeStream(
  model: RewardModel,
  documents: readonly (readonly (Conversation & Member)[])[],
  sizeOf: StreamOptions["sizeOf"],
): Stream {
  const { ids, positions, visualPlaces, visuals, trees, rows } = layOutTrees(documents, sizeOf);
  return {
    members: documents.flat(),
    visuals,
    forward: (features, { run, lookUp }) => {
      const { backbone } = model;
      const x = backbone.embed({ ids, visualPlaces }, features, lookUp);
      const attention = new TreeAttention(trees, model);
      const all = backbone.model.forwardAll(x, positions, (_, q, k, v) => attention.attend(q, k, v), run);
      return { ends: rowsOf(all, lastOf(rows)), all, rows };
    },
  };
}

function groupStreams(
  model: RewardModel,
  prompts: readonly { prompt: GroupPrompt; group: number }[],
  { tokenBudget, sharing }: StreamOptions,
): Stream[] {
  const merged = mergeGroups(prompts.map(({ prompt }) => prompt));
  const units = merged.map((work): Unit => {
    const works = sharing ? [work] : work.branches.map((branch) => ({ ...work, branches: [branch] }));
    return { works, tokens: works.reduce((sum, one) => sum + tokensOf(one), 0) };
  });
  return inBatches(units, ({ tokens }) => tokens, tokenBudget).map((batch) =>
    groupStream(
      model,
      batch.flatMap(({ works }) => works),
      (index) => prompts[index]?.group ?? -1,
    ),
  );
}

function groupStream(model: RewardModel, works: readonly PromptWork[], groupOf: (index: number) => number): Stream {
  const pieces = works.map(
    (work): Piece => ({ work, from: 0, until: work.prefix.span.ids.length, branches: work.branches }),
  );
  const stream = layOut(pieces, () => undefined);
  const branches = works.flatMap((work, index) => {
    const { prefix, branches: runs = [] } = stream.groups[index] ?? {};
    const tokens = (run = { start: 0, length: 0 }): number[] =>
      Array.from({ length: run.length }, (_, offset) => run.start + offset);
    return work.branches.map(({ readers }, at) => ({
      readers,
      rows: Int32Array.from([...tokens(prefix), ...tokens(runs[at])]),
    }));
  });
  const members = branches.flatMap(({ readers }) => readers);
  const ownRow = branches.flatMap(({ readers }, row) => readers.map(() => row));
  return {
    members: members.map(({ group, branch }) => ({ group: groupOf(group), branch })),
    visuals: stream.features.flatMap(({ visuals }) => visuals),
    forward: (features, { run, lookUp }, read) => {
      const { backbone } = model;
      const x = backbone.embed(stream, features, lookUp);
      const attention = backbone.model.attention(stream.groups, model);
      const rows = ownRow.flatMap((row) => branches[row]?.rows ?? []);
      if (read === "all") {
        const attend = (layer: number, q: Tensor, k: Tensor, v: Tensor): Tensor => attention.attend(layer, q, k, v);
        const all = backbone.model.forwardAll(x, stream.positions, attend, run);
        return { ends: rowsOf(all, lastOf(rows)), all, rows };
      }
      const ends = backbone.model.forwardPacked(x, stream.positions, attention, stream.rows, run);
      return { ends: rowsOf(ends, ownRow), rows };
    },
  };
}

const rowsOf = (x: Tensor, rows: readonly number[]): Tensor =>
  indexSelect(x, 0, tensorFrom(Int32Array.from(rows), [rows.length], "int32", x.device));

const lastOf = (rows: readonly Int32Array[]): number[] => rows.map((own) => own.at(-1) ?? 0);

const tokensOf = ({ prefix, branches }: PromptWork): number =>
  branches.reduce((sum, { span }) => sum + span.ids.length, prefix.span.ids.length);

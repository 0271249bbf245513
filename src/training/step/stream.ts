/**
 * @file Conversations put together for one forward pass: which tokens, and who sees whom. Those about small pictures and short
 * prompts become trees, in which everything that they have in common stands once; longer ones groups of a prompt and its
 * answers, for which scoring has its kernels.
 */

import { layOut } from "../../engine/pass/layout.ts";
import { inBatches, mergeGroups, type Piece, type PromptWork, promptTokens } from "../../engine/pass/plan.ts";
import { endsOf, forwardGroups, type Hidden, rowsOf } from "../../engine/pass/stream.ts";
import type { Recording } from "../../models/backbone.ts";
import type { Features } from "../../models/features.ts";
import type { GroupPrompt, Visual } from "../../models/prompt.ts";
import type { RewardModel } from "../../models/reward-model.ts";
import { TreeAttention } from "../../nn/attention/tree-attention.ts";
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
  /** -> hidden states of the members, as `read` says */
  forward(features: Features | undefined, how: Recording, read: "ends" | "all"): Hidden;
}

export interface StreamOptions {
  /** Tokens of one stream; a single prompt with its answers may exceed it. */
  readonly tokenBudget: number;
  /** Conversations whose tokens are at most so many together become a tree. */
  readonly treeTokens: number;
  /** Whether answers to one prompt share its computation. */
  readonly sharing: boolean;
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
    ),
  );
  return [...trees, ...groupStreams(model, large, options)];
}

function treeStream(model: RewardModel, documents: readonly (readonly (Conversation & Member)[])[]): Stream {
  const { visuals, trees, rows, ...stream } = layOutTrees(documents);
  return {
    members: documents.flat(),
    visuals,
    forward: (features, how) => {
      const all = model.backbone.forwardAll(stream, features, new TreeAttention(trees, model), how);
      return { ends: endsOf(all, rows), all, rows };
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
  const readers = works.flatMap(({ branches }) => branches.map((branch) => branch.readers));
  const members = readers.flat();
  const ownBranch = readers.flatMap((own, branch) => own.map(() => branch));
  return {
    members: members.map(({ group, branch }) => ({ group: groupOf(group), branch })),
    visuals: stream.features.flatMap(({ visuals }) => visuals),
    forward: (features, how, read) => {
      const found = forwardGroups(model.backbone, model, stream, features, how, read);
      const rows = ownBranch.map((branch) => found.rows[branch] ?? new Int32Array(0));
      return { ...found, ends: rowsOf(found.ends, [Int32Array.from(ownBranch)]), rows };
    },
  };
}

const tokensOf = ({ prefix, branches }: PromptWork): number =>
  branches.reduce((sum, { span }) => sum + span.ids.length, prefix.span.ids.length);

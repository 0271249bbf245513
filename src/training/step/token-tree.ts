/**
 * @file Conversations about one picture as a tree: what their tokens have in common at the beginning, the picture, a question,
 * the first words of two answers, stands once. A token sees its ancestors, so it gives what it would give in its own
 * conversation.
 */

import type { GroupPrompt, Span, Visual } from "../../models/prompt.ts";
import type { TokenNode } from "../../nn/attention/tree-attention.ts";

/** A conversation: an answer behind its prompt. */
export interface Conversation {
  readonly prompt: GroupPrompt;
  readonly branch: number;
}

/** Trees one after the other, as the model reads them. */
export interface TreeStream {
  readonly ids: Int32Array; // [tokens]
  readonly positions: Int32Array; // [3, tokens]
  readonly visualPlaces: Int32Array; // [visual tokens]
  /** What stands at these places, in order. */
  readonly visuals: readonly Visual[];
  readonly trees: readonly (readonly TokenNode[])[];
  /** For each conversation, where its tokens are in the stream. */
  readonly rows: readonly Int32Array[];
}

/** Conversations that can share something worth it: about the same picture, or with the same prompt where there is none. */
export function treeKey({ prefix, visuals }: GroupPrompt): string {
  const [first] = prefix.visuals;
  return visuals[first ?? -1]?.key ?? prefix.ids.join(" ");
}

/** @param documents conversations with one treeKey each; every one becomes a tree */
export function layOutTrees(documents: readonly (readonly Conversation[])[]): TreeStream {
  const stream = new StreamBuilder();
  return stream.finish(documents.map((conversations) => stream.append(conversations)));
}

/** What a token is: tokens of two conversations can be one if all up to them are equal. */
interface Token {
  readonly id: number;
  /** Where it stands for a part of a picture or video: the visual, and which of its tokens it is. */
  readonly visual: Visual | undefined;
  readonly offset: number;
  readonly position: readonly [number, number, number];
}

/** A stretch of tokens that the same conversations have. */
interface Branching {
  tokens: Token[];
  children: Branching[];
  /** Conversations that end here, by their place in the document. */
  ends: number[];
}

class StreamBuilder {
  readonly #tokens: Token[] = [];
  readonly #rows: Int32Array[] = [];

  append(conversations: readonly Conversation[]): TokenNode[] {
    const root: Branching = { tokens: [], children: [], ends: [] };
    for (const [index, conversation] of conversations.entries()) {
      insert(root, tokensOf(conversation), index);
    }
    const nodes: TokenNode[] = [];
    const rows = new Array<Int32Array>(conversations.length);
    const visit = (node: Branching, parent: number, above: readonly number[]): void => {
      const start = this.#tokens.length;
      this.#tokens.push(...node.tokens);
      const own = nodes.push({ run: { start, length: node.tokens.length }, parent }) - 1;
      const path = [...above, ...node.tokens.map((_, offset) => start + offset)];
      for (const end of node.ends) rows[end] = Int32Array.from(path);
      for (const child of node.children) visit(child, own, path);
    };
    for (const child of root.children) visit(child, -1, []);
    this.#rows.push(...rows);
    return nodes;
  }

  finish(trees: readonly TokenNode[][]): TreeStream {
    const tokens = this.#tokens;
    const placeholders = tokens.flatMap(({ visual }, row) => (visual ? [row] : []));
    return {
      ids: Int32Array.from(tokens, ({ id }) => id),
      positions: Int32Array.from([0, 1, 2].flatMap((axis) => tokens.map(({ position }) => position[axis] ?? 0))),
      visualPlaces: Int32Array.from(placeholders),
      visuals: tokens.flatMap(({ visual, offset }) => (visual && offset === 0 ? [visual] : [])),
      trees,
      rows: this.#rows,
    };
  }
}

/** Adds a conversation, splitting the node in which it leaves the others. */
function insert(root: Branching, tokens: readonly Token[], conversation: number): void {
  let node = root;
  for (let at = 0; ; ) {
    const next = tokens[at];
    if (next === undefined) {
      node.ends.push(conversation);
      return;
    }
    const child = node.children.find(({ tokens: [first] }) => first !== undefined && isSame(first, next));
    if (!child) {
      node.children.push({ tokens: tokens.slice(at), children: [], ends: [conversation] });
      return;
    }
    const common = child.tokens.findIndex((token, index) => !isSame(token, tokens[at + index]));
    if (common !== -1) {
      const rest = { tokens: child.tokens.slice(common), children: child.children, ends: child.ends };
      Object.assign(child, { tokens: child.tokens.slice(0, common), children: [rest], ends: [] });
    }
    at += child.tokens.length;
    node = child;
  }
}

const isSame = (a: Token, b: Token | undefined): boolean =>
  b !== undefined && a.id === b.id && a.offset === b.offset && a.visual?.key === b.visual?.key;

function tokensOf({ prompt, branch }: Conversation): Token[] {
  const answer = prompt.branches[branch];
  return [prompt.prefix, ...(answer ? [answer] : [])].flatMap((span) => tokensIn(span, prompt.visuals));
}

function tokensIn(span: Span, visuals: readonly Visual[]): Token[] {
  const { ids, positions, visualPlaces } = span;
  const parts = span.visuals.flatMap((index) => {
    const visual = visuals[index];
    return visual ? Array.from({ length: visual.tokens }, (_, offset) => ({ visual, offset })) : [];
  });
  const standing = new Map(Array.from(visualPlaces, (place, index) => [place, parts[index]]));
  return Array.from(ids, (id, token) => {
    const { visual, offset = 0 } = standing.get(token) ?? {};
    const [t, h, w] = [0, 1, 2].map((axis) => positions[axis * ids.length + token] ?? 0) as [number, number, number];
    return { id, visual, offset, position: [t, h, w] };
  });
}

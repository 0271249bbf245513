/**
 * @file Added tokens, as Hugging Face's `tokenizers` has them (0.22): the id that each gets, which need not be the one that
 * its file says, and where they stand in a text.
 */
import { toNfc } from "./nfc.ts";
import type { AddedToken } from "./tokenizer-json.ts";

/**
 * -> the id of each added token. One that the vocabulary spells has its id, another comes behind all before it: a hole that
 * the file leaves is closed, as the library closes it when it reads the file. Of two with one spelling the first
 * gives the id, the last the flags.
 */
export function addedTokenIds(
  tokens: readonly AddedToken[],
  vocab: ReadonlyMap<string, number>,
): ReadonlyMap<string, number> {
  const ids = new Map<string, number>();
  let largest = -1;
  for (const { content } of tokens) {
    if (ids.has(content)) continue;
    const id = vocab.get(content) ?? Math.max(largest + 1, vocab.size);
    ids.set(content, id);
    largest = Math.max(largest, id);
  }
  return ids;
}

/** A part of a text: an added token, or what lies between two of them. */
export interface TextPart {
  readonly text: string;
  readonly id?: number | undefined;
}

/** Finds added tokens in texts. */
export class AddedTokenFinder {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #pattern: RegExp | undefined;

  /**
   * @param tokens all of which are looked for in the texts as they are, or all in normalised ones
   * @param ids by what is written in the file
   * @param normalise what texts go through before they come here
   */
  constructor(
    tokens: readonly AddedToken[],
    ids: ReadonlyMap<string, number>,
    normalise: (text: string) => string = (text) => text,
  ) {
    this.#tokens = new Map(tokens.map((token) => [normalise(token.content), token]));
    this.#ids = ids;
    this.#pattern = this.#tokens.size === 0 ? undefined : anyOf(this.#tokens.keys());
  }

  /** The parts of a text in order; together they are the text. None is empty, unless the text is. */
  *parts(text: string): Generator<TextPart> {
    let from = 0;
    for (const match of this.#pattern === undefined ? [] : text.matchAll(this.#pattern)) {
      const token = this.#tokens.get(match[0]);
      let start = match.index;
      let end = start + match[0].length;
      if (!token || (token.single_word && touchesWord(text.slice(0, start), text.slice(end)))) continue;
      if (token.lstrip) while (start > from && isSpace(text[start - 1])) start--;
      if (token.rstrip) while (isSpace(text[end])) end++;
      if (start > from) yield { text: text.slice(from, start) };
      yield { text: text.slice(start, end), id: this.#ids.get(token.content) };
      from = end;
    }
    if (from === 0) yield { text };
    else if (from < text.length) yield { text: text.slice(from) };
  }
}

/** What tokenizer.json's `normalizer` makes of a text: nothing else, or NFC. */
export const normaliserOf = (normalizer: object | null): ((text: string) => string) =>
  normalizer === null ? (text) => text : toNfc;

/** Finds the leftmost of several strings in a text, the longest where several begin at one place. */
export function anyOf(strings: Iterable<string>): RegExp {
  const longestFirst = [...strings].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map((string) => string.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "gu");
}

/** Rust's `\w` and `\s`, which the library goes by. */
const word = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const isSpace = (sign = ""): boolean => /\p{White_Space}/u.test(sign);

/** Whether what stands before ends in a character of a word, or what comes behind begins with one. */
export function touchesWord(before: string, behind: string): boolean {
  const last = /[\udc00-\udfff]/.test(before.at(-1) ?? "") ? before.slice(-2) : (before.at(-1) ?? "");
  return word.test(last) || word.test(String.fromCodePoint(behind.codePointAt(0) ?? 0));
}

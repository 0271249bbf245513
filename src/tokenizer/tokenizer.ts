/**
 * @file Text to ids, equal to Hugging Face's `tokenizers` except in one thing: text never becomes a control token.
 *
 * A control token is an added token marked `special` (`<|im_end|>`, `<|image_pad|>`): it structures a conversation, and
 * only the chat template may write it. In text it is spelled out with the ordinary vocabulary. Added tokens that are
 * not special (`<tool_call>`) are recognised in text.
 */

import { join } from "node:path";
import { VlRewardError } from "../errors.ts";
import { BytePairEncoder, type Merge } from "./bpe.ts";
import { byteCharacters } from "./byte-level.ts";
import { parseJsonFile, readIfThere } from "./config-file.ts";
import { toNfc } from "./nfc.ts";
import { splitIntoPieces } from "./split.ts";
import { type AddedToken, type TokenizerJson, tokenizerJson } from "./tokenizer-json.ts";

/** Longer pieces are rarely met again; and V8 would keep a whole text alive for a slice of 13 characters or more. */
const cachedPieceLength = 12;
const cachedPieces = 1 << 16;

const fileName = "tokenizer.json";

export class Tokenizer {
  /** What structures a conversation, and its id; never in the result of encodeText. */
  readonly controlTokens: ReadonlyMap<string, number>;

  readonly #idOfToken: Map<string, number>;
  readonly #plainAddedTokens: RegExp | undefined;
  readonly #normalize: boolean;
  readonly #byteIds: readonly number[];
  readonly #bpe: BytePairEncoder;
  readonly #cache = new Map<string, readonly number[]>();
  readonly #utf8 = new TextEncoder();

  /** @throws config_invalid if the vocabulary lacks a byte or a part of a merge */
  constructor(json: TokenizerJson) {
    this.#idOfToken = new Map(Object.entries(json.model.vocab));
    const idOf = (token: string): number => {
      const id = this.#idOfToken.get(token);
      if (id === undefined) throw new VlRewardError("config_invalid", `the vocabulary has no ${JSON.stringify(token)}`);
      return id;
    };
    this.#byteIds = byteCharacters.map(idOf);
    this.#bpe = new BytePairEncoder(merges(json.model.merges, idOf));
    this.#normalize = json.normalizer !== null;
    this.controlTokens = contentToId(json.added_tokens.filter((token) => token.special));
    const plain = contentToId(json.added_tokens.filter((token) => !token.special));
    this.#plainAddedTokens = plain.size === 0 ? undefined : anyOf(plain.keys());
    for (const { content, id } of json.added_tokens) this.#idOfToken.set(content, id);
  }

  /**
   * @param folder holds tokenizer.json; tokenizer_config.json adds nothing that ids depend on
   * @throws config_invalid if the file is missing, damaged, or not byte-level BPE as Qwen2's
   */
  static async load(folder: string): Promise<Tokenizer> {
    const text = await readIfThere(folder, fileName);
    const path = join(folder, fileName);
    if (text === undefined) {
      throw new VlRewardError("config_invalid", `${path} is missing: copy ${fileName} from the checkpoint's source`);
    }
    const json = parseJsonFile(path, text, tokenizerJson);
    try {
      return new Tokenizer(json);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new VlRewardError("config_invalid", `${path}: ${reason}`, { cause: error });
    }
  }

  /**
   * @throws invalid_record for half a surrogate pair, which no UTF-8 text can hold
   * @throws sequence_too_long for a single word of more than about two million characters
   */
  encodeText(text: string): number[] {
    if (/\p{Surrogate}/u.test(text)) {
      throw new VlRewardError("invalid_record", "the text holds half of a surrogate pair: it is not valid Unicode");
    }
    const ids: number[] = [];
    let from = 0;
    if (this.#plainAddedTokens !== undefined) {
      for (const match of text.matchAll(this.#plainAddedTokens)) {
        this.#encodeStretch(text.slice(from, match.index), ids);
        ids.push(this.#idOfToken.get(match[0]) ?? 0);
        from = match.index + match[0].length;
      }
    }
    this.#encodeStretch(from === 0 ? text : text.slice(from), ids);
    return ids;
  }

  #encodeStretch(text: string, ids: number[]): void {
    const normalized = this.#normalize ? toNfc(text) : text;
    for (const piece of pieces(normalized)) {
      for (const id of this.#encodePiece(piece)) ids.push(id);
    }
  }

  #encodePiece(piece: string): readonly number[] {
    const cached = this.#cache.get(piece);
    if (cached !== undefined) return cached;
    const ids: number[] = [];
    for (const byte of this.#utf8.encode(piece)) ids.push(this.#byteIds[byte] ?? 0);
    this.#bpe.encode(ids);
    if (piece.length <= cachedPieceLength) {
      if (this.#cache.size >= cachedPieces) this.#cache.clear();
      this.#cache.set(piece, ids);
    }
    return ids;
  }
}

/** Millions of letters without a break exhaust the regular expression's stack. */
function pieces(text: string): string[] {
  try {
    return splitIntoPieces(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = `a text of ${text.length} characters holds a single word of millions: shorten it`;
    throw new VlRewardError("sequence_too_long", message, { cause: error });
  }
}

/** Finds the leftmost of several strings in a text, the longest where several begin at one place. */
export function anyOf(strings: Iterable<string>): RegExp {
  const longestFirst = [...strings].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map((string) => string.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "gu");
}

function contentToId(tokens: readonly AddedToken[]): ReadonlyMap<string, number> {
  return new Map(tokens.map((token) => [token.content, token.id]));
}

function* merges(list: TokenizerJson["model"]["merges"], idOf: (token: string) => number): Generator<Merge> {
  for (const merge of list) {
    const [left = "", right = ""] = typeof merge === "string" ? merge.split(" ") : merge;
    yield { left: idOf(left), right: idOf(right), merged: idOf(left + right) };
  }
}

/**
 * @file Text to ids, equal to Hugging Face's `tokenizers` except in one thing: text never becomes a control token.
 *
 * A control token is an added token marked `special` (`<|im_end|>`, `<|image_pad|>`): it structures a conversation, and
 * only the chat template may write it. In text it is spelled out with the ordinary vocabulary. Added tokens that are
 * not special (`<tool_call>`) are recognised in text.
 */

import { join } from "node:path";
import { VlRewardError } from "../errors.ts";
import { AddedTokenFinder, addedTokenIds, normaliserOf } from "./added-tokens.ts";
import { BytePairEncoder, type Merge } from "./bpe.ts";
import { byteCharacters } from "./byte-level.ts";
import { parseJsonFile, readIfThere } from "./config-file.ts";
import { originsOf } from "./nfc.ts";
import { type Splitter, splitterOf } from "./split.ts";
import { type AddedToken, startTokenOf, type TokenizerJson, tokenizerJson } from "./tokenizer-json.ts";

/** Longer pieces are rarely met again; and V8 would keep a whole text alive for a slice of 13 characters or more. */
const cachedPieceLength = 12;
const cachedPieces = 1 << 16;

const fileName = "tokenizer.json";

const byteOf: ReadonlyMap<string, number> = new Map(byteCharacters.map((character, byte) => [character, byte]));

/** A token and where it stands in a text, in code points. */
export interface PlacedToken {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

export class Tokenizer {
  /** What structures a conversation, and its id; never in the result of encodeText. */
  readonly controlTokens: ReadonlyMap<string, number>;
  /** Those that take white space with them, or are none within a word. */
  readonly controlRules: ReadonlyMap<string, AddedToken>;
  /** One more than the largest id: the rows that an embedding needs at least. */
  readonly vocabSize: number;
  /** The control token that tokenizer.json puts before every text. encodeText does not: the chat template has to. */
  readonly startToken: string | undefined;

  readonly #vocab: ReadonlyMap<string, number>;
  readonly #addedTokens: ReadonlyMap<string, number>;
  /** Of added tokens that texts may hold: those that are looked for before and those after texts are normalised. */
  readonly #inTexts: AddedTokenFinder;
  readonly #inNormalised: AddedTokenFinder;
  /** Of control tokens, which only rendered conversations hold. */
  readonly #inWritten: AddedTokenFinder;
  readonly #split: Splitter;
  readonly #ignoreMerges: boolean;
  readonly #normalised: (text: string) => string;
  readonly #byteIds: readonly number[];
  readonly #bpe: BytePairEncoder;
  readonly #cache = new Map<string, readonly number[]>();
  readonly #utf8 = new TextEncoder();
  /** By id; made when places are first asked for. */
  #bytesOfToken: Uint32Array | undefined;
  /** By id; made when one is first asked for. */
  #spellings: ReadonlyMap<number, string> | undefined;

  /** @throws config_invalid if the vocabulary lacks a byte or a part of a merge, or the split rule is not understood */
  constructor(json: TokenizerJson) {
    this.#vocab = new Map(Object.entries(json.model.vocab));
    const idOf = (token: string): number => {
      const id = this.#vocab.get(token);
      if (id === undefined) throw new VlRewardError("config_invalid", `the vocabulary has no ${JSON.stringify(token)}`);
      return id;
    };
    this.#byteIds = byteCharacters.map(idOf);
    this.#bpe = new BytePairEncoder(merges(json.model.merges, idOf));
    this.#normalised = normaliserOf(json.normalizer);
    this.#split = splitterOf(json.pre_tokenizer.pretokenizers[0].pattern.Regex);
    this.#ignoreMerges = json.model.ignore_merges === true;
    this.#addedTokens = addedTokenIds(json.added_tokens, this.#vocab);
    const idsOf = (tokens: readonly AddedToken[]) =>
      tokens.map(({ content }) => [content, idIn(this.#addedTokens, content)] as const);
    const control = json.added_tokens.filter((token) => token.special);
    this.controlTokens = new Map(idsOf(control));
    this.controlRules = new Map(
      json.added_tokens
        .filter(({ special, single_word, lstrip, rstrip }) => special && (single_word || lstrip || rstrip))
        .map((token) => [token.content, token]),
    );
    this.#inWritten = new AddedTokenFinder(control, this.#addedTokens);
    const plain = json.added_tokens.filter((token) => !token.special && !this.controlTokens.has(token.content));
    const [late, early] = [true, false].map((normalized) => plain.filter((token) => token.normalized === normalized));
    this.#inTexts = new AddedTokenFinder(early ?? [], this.#addedTokens);
    this.#inNormalised = new AddedTokenFinder(late ?? [], this.#addedTokens, this.#normalised);
    let largest = 0;
    for (const id of this.#vocab.values()) largest = Math.max(largest, id);
    for (const id of this.#addedTokens.values()) largest = Math.max(largest, id);
    this.vocabSize = largest + 1;
    this.startToken = startTokenOf(json);
    if (this.startToken !== undefined && !this.controlTokens.has(this.startToken)) {
      const message = `post_processor writes ${JSON.stringify(this.startToken)}, which is no special added token`;
      throw new VlRewardError("config_invalid", message);
    }
  }

  /**
   * @param folder holds tokenizer.json; tokenizer_config.json adds nothing that ids depend on
   * @throws config_invalid if the file is missing, damaged, or not byte-level BPE as Qwen's or Llama 3's
   */
  static async load(folder: string): Promise<Tokenizer> {
    const text = readIfThere(folder, fileName);
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
    assertUnicode(text);
    const ids: number[] = [];
    for (const { text: stretch, id } of this.#inTexts.parts(text)) {
      if (id !== undefined) ids.push(id);
      else this.#encodeStretch(stretch, ids);
    }
    return ids;
  }

  /**
   * Ids of a text that is a rendered conversation already: control tokens are recognised wherever it spells them, as Hugging Face's
   * library does. Throws as encodeText.
   */
  encodeWritten(text: string): number[] {
    const parts = [...this.#inWritten.parts(text)];
    return parts.flatMap(({ text: stretch, id }) => (id === undefined ? this.encodeText(stretch) : [id]));
  }

  /**
   * As encodeText, with the place of each token: all of the characters that it has a part of. Differs from Hugging
   * Face's `return_offsets_mapping` in one thing: a character that NFC composes has the places of all that it is
   * composed of (there it has the first's only, and a combining mark belongs to no token).
   */
  encodeWithPlaces(text: string): PlacedToken[] {
    assertUnicode(text);
    const tokens: PlacedToken[] = [];
    let offset = 0;
    for (const { text: stretch, id } of this.#inTexts.parts(text)) {
      const length = codePoints(stretch);
      if (id !== undefined) tokens.push({ id, start: offset, end: offset + length });
      else {
        for (const { id, start, end } of this.#placedTokens(stretch)) {
          tokens.push({ id, start: offset + start, end: offset + end });
        }
      }
      offset += length;
    }
    return tokens;
  }

  /** A token as the vocabulary spells it, byte by byte; undefined for an id that has none. */
  spelling(id: number): string | undefined {
    this.#spellings ??= new Map([...this.#vocab, ...this.#addedTokens].map(([token, id]) => [id, token]));
    return this.#spellings.get(id);
  }

  /** The text of ids, control tokens as they are written; what is no UTF-8 becomes U+FFFD. */
  decode(ids: readonly number[]): string {
    const bytes: number[] = [];
    for (const id of ids) {
      const spelling = this.spelling(id) ?? "";
      if (this.#addedTokens.has(spelling)) bytes.push(...this.#utf8.encode(spelling));
      else for (const character of spelling) bytes.push(byteOf.get(character) ?? 0);
    }
    return new TextDecoder().decode(Uint8Array.from(bytes));
  }

  /** Tokens that have no row in an embedding of so many, by their ids. */
  beyond(rows: number): Map<number, string> {
    if (this.vocabSize <= rows) return new Map();
    const all = [...this.#vocab, ...this.#addedTokens].filter(([, id]) => id >= rows);
    return new Map(all.map(([token, id]) => [id, token]));
  }

  /** Whether it is an added token that is no control token: only a text that spells it becomes it. */
  isPlainAdded(token: string): boolean {
    return this.#addedTokens.has(token) && !this.controlTokens.has(token) && !this.#vocab.has(token);
  }

  #encodeStretch(stretch: string, ids: number[]): void {
    for (const { text, id } of this.#inNormalised.parts(this.#normalised(stretch))) {
      if (id !== undefined) ids.push(id);
      else for (const piece of this.#pieces(text)) for (const id of this.#encodePiece(piece)) ids.push(id);
    }
  }

  /** Millions of letters without a break exhaust the regular expression's stack. */
  #pieces(normalized: string): string[] {
    try {
      return this.#split(normalized);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const message = `a text of ${normalized.length} characters holds a single word of millions: shorten it`;
      throw new VlRewardError("sequence_too_long", message, { cause: error });
    }
  }

  #encodePiece(piece: string): readonly number[] {
    const cached = this.#cache.get(piece);
    if (cached !== undefined) return cached;
    const bytes = this.#utf8.encode(piece);
    const whole = this.#ignoreMerges ? this.#wordOf(bytes) : undefined;
    const ids: number[] = [];
    if (whole !== undefined) ids.push(whole);
    else {
      for (const byte of bytes) ids.push(this.#byteIds[byte] ?? 0);
      this.#bpe.encode(ids);
    }
    if (piece.length <= cachedPieceLength) {
      if (this.#cache.size >= cachedPieces) this.#cache.clear();
      this.#cache.set(piece, ids);
    }
    return ids;
  }

  /** The token that a whole piece is, if it is one; no control token, even if the vocabulary spells one. */
  #wordOf(bytes: Uint8Array): number | undefined {
    let spelled = "";
    for (const byte of bytes) spelled += byteCharacters[byte] ?? "";
    return this.controlTokens.has(spelled) ? undefined : this.#vocab.get(spelled);
  }

  *#placedTokens(stretch: string): Generator<PlacedToken> {
    const normalised = this.#normalised(stretch);
    const origins = originsOf(stretch, normalised);
    const place = (id: number, first: number, last: number): PlacedToken => ({
      id,
      start: origins[first]?.start ?? 0,
      end: origins[last]?.end ?? 0,
    });
    let offset = 0;
    for (const { text, id } of this.#inNormalised.parts(normalised)) {
      if (id !== undefined) {
        const length = codePoints(text);
        yield place(id, offset, offset + length - 1);
        offset += length;
        continue;
      }
      for (const piece of this.#pieces(text)) {
        const signs = Array.from(piece);
        const signOfByte = signs.flatMap((sign, index) => Array.from(this.#utf8.encode(sign), () => offset + index));
        let byte = 0;
        for (const id of this.#encodePiece(piece)) {
          const first = signOfByte[byte] ?? 0;
          byte += this.#tokenBytes()[id] ?? 0;
          yield place(id, first, signOfByte[byte - 1] ?? 0);
        }
        offset += signs.length;
      }
    }
  }

  #tokenBytes(): Uint32Array {
    if (this.#bytesOfToken === undefined) {
      this.#bytesOfToken = new Uint32Array(this.vocabSize);
      for (const [token, id] of this.#vocab) this.#bytesOfToken[id] = token.length; // one character for each byte
    }
    return this.#bytesOfToken;
  }
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function assertUnicode(text: string): void {
  if (!/\p{Surrogate}/u.test(text)) return;
  throw new VlRewardError("invalid_record", "the text holds half of a surrogate pair: it is not valid Unicode");
}

const idIn = (ids: ReadonlyMap<string, number>, content: string): number => ids.get(content) ?? 0;

function* merges(list: TokenizerJson["model"]["merges"], idOf: (token: string) => number): Generator<Merge> {
  for (const merge of list) {
    const [left = "", right = ""] = typeof merge === "string" ? merge.split(" ") : merge;
    yield { left: idOf(left), right: idOf(right), merged: idOf(left + right) };
  }
}

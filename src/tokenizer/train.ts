/**
 * @file Learns a small byte-level BPE vocabulary with Qwen2.5-VL's split rule and added tokens, and writes it as a
 * folder that transformers reads too. Deterministic; the merges are those of Hugging Face's BpeTrainer.
 *
 * Ids, as in Qwen's own files: the 256 bytes, the merges in the order they were learned, the added tokens.
 */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { VlRewardError } from "../errors.ts";
import { byteCharacters } from "./byte-level.ts";
import { toNfc } from "./nfc.ts";
import { qwenSplitRule, splitterOf } from "./split.ts";
import type { AddedToken, TokenizerJson } from "./tokenizer-json.ts";

const padToken = "<|endoftext|>";
const controlTokens = [
  ...[padToken, "<|im_start|>", "<|im_end|>"],
  ...["<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"],
  ...["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"],
];
const plainAddedTokens = [
  ...["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"],
  ...["<|repo_name|>", "<|file_sep|>"],
];

/**
 * @param vocabSize of the whole, with the 256 bytes, Qwen's 22 added tokens and `special`
 * @param special further control tokens, after Qwen's
 * @throws usage if that leaves no merge, or more than the texts hold; for a control token that is given twice
 */
export async function trainTokenizer(
  texts: Iterable<string> | AsyncIterable<string>,
  vocabSize: number,
  special: readonly string[] = [],
): Promise<TokenizerJson> {
  const added = [...controlTokens, ...plainAddedTokens, ...special];
  const twice = added.find((token, index) => token === "" || added.indexOf(token) !== index);
  if (twice !== undefined) {
    throw new VlRewardError("usage", `the control token ${JSON.stringify(twice)} is empty or there already`);
  }
  const wanted = vocabSize - added.length;
  const vocab = byteCharacters.toSorted();
  if (wanted <= vocab.length) {
    const least = vocab.length + added.length + 1;
    throw new VlRewardError("usage", `a vocabulary of ${vocabSize} is too small: expected at least ${least}`);
  }
  const merges = learnMerges(await countPieces(texts), vocab, wanted);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added.map((content, index) =>
      addedToken(content, vocab.length + index, !plainAddedTokens.includes(content)),
    ),
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: qwenSplitRule }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(vocab.map((token, id) => [token, id])),
      merges,
    },
  };
}

/**
 * Writes tokenizer.json, tokenizer_config.json, vocab.json and merges.txt; transformers' slow class needs the last two.
 *
 * @param chatTemplate also stands in tokenizer_config.json and, for transformers' processor, in chat_template.json
 */
export async function saveTokenizer(folder: string, tokenizer: TokenizerJson, chatTemplate?: string): Promise<void> {
  const special = tokenizer.added_tokens.filter((token) => token.special).map(({ content }) => content);
  const config = {
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(tokenizer.added_tokens.map(({ id, ...token }) => [String(id), token])),
    additional_special_tokens: special.filter((token) => token !== padToken),
    bos_token: null,
    ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    clean_up_tokenization_spaces: false,
    eos_token: "<|im_end|>",
    errors: "replace",
    model_max_length: 131072,
    pad_token: padToken,
    split_special_tokens: false,
    tokenizer_class: "Qwen2Tokenizer",
    unk_token: null,
  };
  const merges = tokenizer.model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")));
  const files = {
    "tokenizer.json": JSON.stringify(tokenizer),
    "tokenizer_config.json": JSON.stringify(config, null, 2),
    "vocab.json": JSON.stringify(tokenizer.model.vocab),
    "merges.txt": ["#version: 0.2", ...merges].join("\n"),
    ...(chatTemplate !== undefined && {
      "chat_template.json": JSON.stringify({ chat_template: chatTemplate }, null, 2),
    }),
  };
  await mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), `${text}\n`);
}

/** How often each piece of text occurs. */
async function countPieces(texts: Iterable<string> | AsyncIterable<string>): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const piecesOf = splitterOf(qwenSplitRule);
  for await (const text of texts) {
    for (const piece of piecesOf(toNfc(text))) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  }
  return counts;
}

interface Word {
  ids: number[];
  readonly count: number;
}

/** A pair as one number; smaller is the pair of the smaller left id, then right id: the order of ties. */
const pairLimit = 2 ** 21;

/**
 * Merges the most frequent pair of neighbours, again and again; of equally frequent ones the pair of smallest ids.
 *
 * @param vocab grows to `size` tokens
 */
function learnMerges(pieces: Map<string, number>, vocab: string[], size: number): [string, string][] {
  const idOf = new Map(vocab.map((token, id) => [token, id]));
  const utf8 = new TextEncoder();
  const words: Word[] = Array.from(pieces, ([piece, count]) => ({
    ids: Array.from(utf8.encode(piece), (byte) => idOf.get(byteCharacters[byte] ?? "") ?? 0),
    count,
  }));
  const counts = new Map<number, number>();
  const wordsWith = new Map<number, Set<Word>>();
  const tally = (word: Word, sign: 1 | -1) => {
    for (let at = 1; at < word.ids.length; at++) {
      const pair = (word.ids[at - 1] ?? 0) * pairLimit + (word.ids[at] ?? 0);
      counts.set(pair, (counts.get(pair) ?? 0) + sign * word.count);
      const holders = wordsWith.get(pair) ?? new Set();
      if (sign === 1) wordsWith.set(pair, holders.add(word));
    }
  };
  for (const word of words) tally(word, 1);

  const merges: [string, string][] = [];
  while (vocab.length < size) {
    let best = -1;
    let most = 0;
    for (const [pair, count] of counts) {
      if (count > most || (count === most && pair < best)) [best, most] = [pair, count];
    }
    if (best === -1) {
      throw new VlRewardError("usage", `the texts are too few: they give ${vocab.length} tokens, expected ${size}`);
    }
    const left = vocab[Math.floor(best / pairLimit)] ?? "";
    const right = vocab[best % pairLimit] ?? "";
    merges.push([left, right]);
    let id = idOf.get(left + right); // another pair may have given the same token before
    if (id === undefined) {
      id = vocab.push(left + right) - 1;
      idOf.set(left + right, id);
    }
    for (const word of wordsWith.get(best) ?? []) {
      tally(word, -1);
      word.ids = mergePair(word.ids, best, id);
      tally(word, 1);
    }
    counts.delete(best);
    wordsWith.delete(best);
  }
  return merges;
}

function mergePair(ids: readonly number[], pair: number, merged: number): number[] {
  const result: number[] = [];
  for (let at = 0; at < ids.length; at++) {
    const id = ids[at] ?? 0;
    const next = ids[at + 1];
    if (next !== undefined && id * pairLimit + next === pair) {
      result.push(merged);
      at++;
    } else {
      result.push(id);
    }
  }
  return result;
}

function addedToken(content: string, id: number, special: boolean): AddedToken {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

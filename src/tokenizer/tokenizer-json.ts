/**
 * @file The tokenizer.json that this package reads and writes: Hugging Face's format, narrowed to byte-level BPE as
 * Qwen2 and later, and Llama 3, use it. A file that asks for anything else is refused by name, because its ids would
 * come out wrong.
 */

import { z } from "zod";
import { idLimit } from "./bpe.ts";

const addedToken = z.object({
  id: z.int().nonnegative(),
  content: z.string().min(1),
  single_word: z.boolean(),
  lstrip: z.boolean(),
  rstrip: z.boolean(),
  normalized: z.boolean(),
  special: z.boolean(),
});

const split = z.object({
  type: z.literal("Split"),
  pattern: z.object({ Regex: z.string() }),
  behavior: z.literal("Isolated"),
  invert: z.literal(false),
});

const byteLevel = z.object({
  type: z.literal("ByteLevel"),
  add_prefix_space: z.literal(false),
  trim_offsets: z.boolean().optional(),
  use_regex: z.literal(false),
});

const absent = z.union([z.null(), z.literal(""), z.literal(false)]).optional();

const bpe = z.object({
  type: z.literal("BPE"),
  dropout: absent,
  unk_token: absent,
  continuing_subword_prefix: absent,
  end_of_word_suffix: absent,
  fuse_unk: absent,
  byte_fallback: absent,
  /** A whole piece that is in the vocabulary is taken as it is, whatever the merges would make of it. */
  ignore_merges: z.boolean().optional(),
  // 150,000 entries each: checked by a plain loop, zod's own takes a quarter of a second.
  vocab: z.custom<Record<string, number>>(isVocabulary, `expected an object of ids below ${idLimit}`),
  merges: z.custom<readonly (string | [string, string])[]>(isMergeList, "expected a list of pairs of tokens"),
});

function isVocabulary(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((id) => Number.isInteger(id) && id >= 0 && id < idLimit);
}

/** Newer files hold pairs, older ones "left right". */
function isMergeList(value: unknown): boolean {
  if (!Array.isArray(value)) return false;
  return value.every((merge: unknown) => {
    const parts: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    return Array.isArray(parts) && parts.length === 2 && parts.every((part) => typeof part === "string" && part !== "");
  });
}

/** Tells where tokens stand; ids do not depend on it. */
const marksPlaces = z.object({ type: z.literal("ByteLevel") });

const openingToken = z.object({ SpecialToken: z.object({ id: z.string() }) });
const textItself = z.object({ Sequence: z.object({ id: z.literal("A") }) });

/** Writes one token before a text, or none. What it does to pairs of texts does not matter. */
const opensTexts = z.object({
  type: z.literal("TemplateProcessing"),
  single: z.union([z.tuple([textItself]), z.tuple([openingToken, textItself])]),
});

export const tokenizerJson = z.object({
  version: z.string().optional(),
  // What the last call asked for before the file was saved; no conversation is cut or filled up by them.
  truncation: z.unknown().optional(),
  padding: z.unknown().optional(),
  added_tokens: z.array(addedToken),
  normalizer: z.object({ type: z.literal("NFC") }).nullable(),
  pre_tokenizer: z.object({ type: z.literal("Sequence"), pretokenizers: z.tuple([split, byteLevel]) }),
  post_processor: z
    .union([
      marksPlaces,
      opensTexts,
      z.object({ type: z.literal("Sequence"), processors: z.array(z.union([marksPlaces, opensTexts])) }),
    ])
    .nullable()
    .optional(),
  decoder: z.unknown().optional(),
  model: bpe,
});

export type TokenizerJson = z.infer<typeof tokenizerJson>;
export type AddedToken = z.infer<typeof addedToken>;

/** The token that the post_processor writes before every text. */
export function startTokenOf({ post_processor: processor }: TokenizerJson): string | undefined {
  const processors = processor?.type === "Sequence" ? processor.processors : [processor];
  for (const one of processors) {
    if (one?.type !== "TemplateProcessing") continue;
    const [first] = one.single;
    if ("SpecialToken" in first) return first.SpecialToken.id;
  }
  return undefined;
}

/**
 * @file A conversation to token ids: the chat template's control tokens by their ids, and each stretch between two of
 * them, whoever wrote its parts, as one string. Parts must not be encoded by themselves: "user\n" before "\nhello" is
 * one token for both newlines.
 */

import { VlRewardError } from "../errors.ts";
import { touchesWord } from "./added-tokens.ts";
import type { ChatTemplate, Segment, TemplateMessage } from "./chat-template.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface MediaPlace {
  /** The index in `ids` of the one token that stands for all of the picture's or video's visual tokens. */
  readonly position: number;
  readonly kind: "image" | "video";
}

/** A text between two control tokens. */
export interface Stretch {
  readonly text: string;
  /** The index in `ids` of its first token. */
  readonly position: number;
}

export interface TokenizedConversation {
  readonly ids: number[];
  /** In order; none is empty. */
  readonly stretches: Stretch[];
  /** One for each picture and video of the messages, in their order. */
  readonly media: MediaPlace[];
}

/** The control tokens that stand for pictures and videos in a family's template. */
export type Placeholders = ReadonlyMap<string, MediaPlace["kind"]>;

/** What tokenizing a conversation needs of a tokenizer. */
export type Encoder = Pick<Tokenizer, "controlTokens" | "encodeText"> &
  Partial<Pick<Tokenizer, "startToken" | "controlRules">>;

/**
 * @param placeholders none for a model that reads text alone
 * @throws config_invalid if the template gives pictures and videos other places than the messages, or the tokenizer
 *   lacks their tokens; if the template does not open with the token that the tokenizer puts before every text
 */
export function tokenizeConversation(
  messages: readonly TemplateMessage[],
  tokenizer: Encoder,
  template: ChatTemplate,
  placeholders: Placeholders = new Map(),
): TokenizedConversation {
  const ids: number[] = [];
  const stretches: Stretch[] = [];
  const media: MediaPlace[] = [];
  const segments = settled(template.render(messages, tokenizer.controlTokens.keys()), tokenizer.controlRules);
  const opening = segments[0]?.isControlToken ? segments[0].text : undefined;
  if (tokenizer.startToken !== undefined && opening !== tokenizer.startToken) {
    const message =
      `the tokenizer puts ${tokenizer.startToken} before every text, and the chat template does not write it: ` +
      "expected a template that does";
    throw new VlRewardError("config_invalid", message);
  }
  for (const { isControlToken, text } of segments) {
    if (isControlToken) {
      const kind = placeholders.get(text);
      if (kind !== undefined) media.push({ position: ids.length, kind });
      ids.push(tokenizer.controlTokens.get(text) ?? 0);
    } else {
      stretches.push({ text, position: ids.length });
      for (const id of tokenizer.encodeText(text)) ids.push(id);
    }
  }
  const expected = messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.flatMap((part) => (part.type === "text" ? [] : [part.type])),
  );
  const found = media.map((place) => place.kind);
  if (expected.join() !== found.join()) {
    const list = (kinds: readonly string[]) => (kinds.length === 0 ? "no media" : kinds.join(", "));
    const message =
      `the conversation has ${list(expected)}, but the chat template and tokenizer give a place to ${list(found)}: ` +
      `expected ${[...placeholders.keys()].join(" and ") || "a model that reads them"}`;
    throw new VlRewardError("config_invalid", message);
  }
  return { ids, stretches, media };
}

/**
 * What a template wrote, as control tokens with flags make it: one that is a `single_word` is text where a word touches it, and
 * `lstrip` and `rstrip` take the white space beside one with it, whoever wrote that.
 */
function settled(segments: readonly Segment[], rules: Encoder["controlRules"]): readonly Segment[] {
  if (rules === undefined || rules.size === 0) return segments;
  const joined: Segment[] = [];
  for (const [index, segment] of segments.entries()) {
    const [before = "", after = ""] = [segments[index - 1]?.text, segments[index + 1]?.text];
    const isWord = segment.isControlToken && rules.get(segment.text)?.single_word;
    const isControlToken = segment.isControlToken && !(isWord && touchesWord(before, after));
    const last = joined.at(-1);
    if (isControlToken || !last || last.isControlToken) joined.push({ isControlToken, text: segment.text });
    else joined[joined.length - 1] = { isControlToken, text: last.text + segment.text };
  }
  const ruleAt = (index: number) => (joined[index]?.isControlToken ? rules.get(joined[index].text) : undefined);
  return joined.flatMap(({ isControlToken, text }, index): Segment[] => {
    if (isControlToken) return [{ isControlToken, text }];
    const head = ruleAt(index - 1)?.rstrip ? text.replace(/^\p{White_Space}+/u, "") : text;
    const left = ruleAt(index + 1)?.lstrip ? head.replace(/\p{White_Space}+$/u, "") : head;
    return left === "" ? [] : [{ isControlToken, text: left }];
  });
}

/** What a chat template writes around the answer, the last turn. */
export interface AnswerFrame {
  /** The id of the last control token before the answer: it opens the answer's turn, and nothing before it depends on answers. */
  readonly opener: number;
  /** What stands between the opener and the answer, such as "assistant\n". */
  readonly header: string;
  /** The id of the control token that ends a turn. */
  readonly end: number;
}

/** @throws config_invalid where the template puts no control token before an answer, or none behind it */
export function answerFrame(
  { controlTokens, controlRules }: Pick<Encoder, "controlTokens" | "controlRules">,
  template: ChatTemplate,
): AnswerFrame {
  const answer = "answer";
  // Texts without ids: what is left are the control tokens, and each text's place among them.
  const { ids, stretches } = tokenizeConversation(
    [
      { role: "user", content: "question" },
      { role: "assistant", content: answer },
    ],
    { controlTokens, encodeText: () => [], ...(controlRules && { controlRules }) },
    template,
  );
  const own = stretches.findLast(({ text }) => text.includes(answer));
  const [opener, end] = own ? [ids[own.position - 1], ids[own.position]] : [];
  if (own === undefined || opener === undefined || end === undefined) {
    throw new VlRewardError(
      "config_invalid",
      "the chat template writes no control token of the tokenizer before an answer and behind it, so that where an answer " +
        "begins is not known: expected one such as <|im_start|>",
    );
  }
  return { opener, header: own.text.slice(0, own.text.lastIndexOf(answer)), end };
}

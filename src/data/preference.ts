/**
 * @file One line of training data: a prompt, answers to it and which of them is better. docs/training.md describes it.
 *
 *     {"messages": [...], "chosen": "...", "rejected": "..."}      two answers to the same prompt
 *     {"chosen": [...turns], "rejected": [...turns]}               two conversations that differ in their last turn
 *     {"messages": [...], "responses": [...], "scores": [...]}     several answers: each pair of different scores
 *
 * `margin`, `weight` and `source` may stand beside them and hold for every pair of the record; `reference_log_probs` has a
 * number for each answer.
 */

import { z } from "zod";
import type { Message } from "../conversation.ts";
import { VlRewardError } from "../errors.ts";
import { canonicalText } from "./canonical.ts";
import { readMessages, text, wireMessages } from "./messages.ts";
import { requireUserTurn } from "./record.ts";
import { type RecordId, readRecordLine } from "./record-line.ts";

/** One prompt with answers and what is known of them. */
export interface Preference {
  readonly id: RecordId;
  /** The prompt; ends with a user turn. */
  readonly prefix: readonly Message[];
  /** Assistant turns, all different: chosen and rejected, or all responses. */
  readonly answers: readonly Message[];
  /** At least one. */
  readonly pairs: readonly AnswerPair[];
  readonly source: string | undefined;
  /** Of each answer: its log-probability under a reference policy, computed before; undefined where the record has none. */
  readonly referenceLogProbs?: readonly number[] | undefined;
}

export interface AnswerPair {
  /** Indices in `answers`. */
  readonly chosen: number;
  readonly rejected: number;
  /** By how much the better answer's reward should be the larger, at least. */
  readonly margin: number;
  /** How much the pair's loss counts. */
  readonly weight: number;
}

/** What became of a line; a bad record keeps its id as far as it could be read. */
export type ReadPreference =
  | { readonly id: RecordId; readonly preference: Preference }
  | { readonly id: RecordId; readonly error: VlRewardError };

const answer = z.union([text, wireMessages], "a string or a list of messages");

const wirePreference = z.object(
  {
    messages: wireMessages.exactOptional(),
    chosen: answer.exactOptional(),
    rejected: answer.exactOptional(),
    responses: z.array(text, "a list of strings").exactOptional(),
    scores: z.array(z.number("a finite number"), "a list of numbers").exactOptional(),
    margin: z.number("a number that is not negative").nonnegative("a number that is not negative").exactOptional(),
    weight: z.number("a positive number").positive("a positive number").exactOptional(),
    source: z.string("a string").exactOptional(),
    reference_log_probs: z.array(z.number("a finite number"), "a list of numbers").exactOptional(),
  },
  "a record: an object with messages, chosen and rejected",
);
type Wire = z.infer<typeof wirePreference>;

/** Reads one line; whatever is in it, this returns and does not throw. */
export function readPreference(line: string, lineNumber: number): ReadPreference {
  const read = readRecordLine(line, lineNumber, wirePreference, toPreference);
  return "error" in read ? read : { id: read.id, preference: read.value };
}

function toPreference(wire: Wire, id: RecordId): Preference {
  const { margin = 0, weight = 1, source } = wire;
  const { prefix, answers, ranks, places } = wire.responses || wire.scores ? readScored(wire) : readPair(wire);
  const referenceLogProbs = wire.reference_log_probs && byAnswer(wire.reference_log_probs, places);
  return { id, prefix, answers, pairs: pairsOf(ranks, margin, weight), source, referenceLogProbs };
}

/** -> numbers for each answer of those that a record gives for each of its texts, of which some can be equal */
function byAnswer(numbers: readonly number[], places: readonly number[]): number[] {
  if (numbers.length !== places.length) {
    throw invalid(
      `reference_log_probs: expected as many numbers as answers, found ${numbers.length} for ${places.length}`,
    );
  }
  const found: number[] = [];
  for (const [index, place] of places.entries()) {
    const number = numbers[index] ?? 0;
    const before = found[place] ?? number;
    if (before !== number) {
      throw invalid(`reference_log_probs: two answers are equal, but their numbers are ${before} and ${number}`);
    }
    found[place] = number;
  }
  return found;
}

/** A prompt, its answers, and a number for each that is the higher the better the answer. */
interface RankedAnswers {
  readonly prefix: readonly Message[];
  readonly answers: readonly Message[];
  readonly ranks: readonly number[];
  /** For each text of the record, in its order (chosen, then rejected), which answer it is. */
  readonly places: readonly number[];
}

function readPair({ messages, chosen, rejected }: Wire): RankedAnswers {
  if (chosen === undefined || rejected === undefined) {
    const found = chosen !== undefined ? "chosen alone" : rejected !== undefined ? "rejected alone" : "none of them";
    throw invalid(`expected chosen and rejected, or responses and scores, found ${found}`);
  }
  if (typeof chosen === "string" && typeof rejected === "string") {
    const prefix = readPrompt(messages, "chosen and rejected");
    return inOrder(prefix, assistantTurn(chosen), assistantTurn(rejected));
  }
  if (typeof chosen === "string" || typeof rejected === "string") {
    throw invalid("chosen and rejected: expected two strings or two lists of messages, found one of each");
  }
  if (messages !== undefined) {
    const advice = "leave out messages, or give the answers as strings";
    throw invalid(`chosen and rejected are whole conversations, which hold the prompt; ${advice}`);
  }
  const [better, worse] = [readConversation(chosen, "chosen"), readConversation(rejected, "rejected")];
  return inOrder(commonPrompt(better.prompt, worse.prompt), better.answer, worse.answer);
}

function readPrompt(messages: Wire["messages"], answers: string): readonly Message[] {
  if (messages === undefined) throw invalid(`messages: expected a list of messages beside ${answers}, found nothing`);
  const prompt = readMessages(messages);
  requireUserTurn(prompt.at(-1)?.role, answers);
  return prompt;
}

function readConversation(wire: z.infer<typeof wireMessages>, key: string) {
  const turns = readMessages(wire, key);
  const answer = turns.at(-1);
  if (answer?.role === "assistant") return { prompt: turns.slice(0, -1), answer };
  throw new VlRewardError("no_assistant_turn", `${key}: expected an assistant turn last, found the ${answer?.role}'s`);
}

function commonPrompt(prompt: readonly Message[], other: readonly Message[]): readonly Message[] {
  if (prompt.length !== other.length) {
    const found = `${prompt.length + 1} and ${other.length + 1} turns`;
    throw invalid(`chosen and rejected must differ in their last turn only, but have ${found}`);
  }
  const turn = prompt.findIndex((message, index) => !sameTurns([message], other.slice(index, index + 1)));
  if (turn !== -1) {
    throw invalid(`chosen[${turn}] and rejected[${turn}] are not the same turn; only the last one may differ`);
  }
  const role = prompt.at(-1)?.role;
  if (role === "user") return prompt;
  throw new VlRewardError(
    "invalid_roles",
    `chosen and rejected: expected a user turn before the answer, found ${role ? `the ${role}'s` : "none"}`,
  );
}

function inOrder(prefix: readonly Message[], better: Message, worse: Message): RankedAnswers {
  if (sameTurns([better], [worse])) throw invalid("chosen and rejected are equal: neither is better");
  return { prefix, answers: [better, worse], ranks: [1, 0], places: [0, 1] };
}

/** Answers of a record, of which every two become a pair. */
const mostCompared = 1000;

function readScored({ messages, chosen, rejected, responses, scores }: Wire): RankedAnswers {
  if (chosen !== undefined || rejected !== undefined) {
    throw invalid("a record has either responses and scores, or chosen and rejected, but not both");
  }
  if (responses === undefined || scores === undefined) {
    throw invalid(`expected responses and scores, found ${responses ? "responses" : "scores"} alone`);
  }
  if (responses.length !== scores.length) {
    throw invalid(`expected as many scores as responses, found ${scores.length} for ${responses.length}`);
  }
  if (responses.length > mostCompared) {
    throw invalid(`responses: ${responses.length} answers, at most ${mostCompared} are compared with each other`);
  }
  const prefix = readPrompt(messages, "responses");
  const scoreOf = new Map<string, number>();
  for (const [index, response] of responses.entries()) {
    const score = scores[index] ?? 0;
    const before = scoreOf.get(response) ?? score;
    if (before !== score) throw invalid(`responses: two are equal, but their scores are ${before} and ${score}`);
    scoreOf.set(response, score);
  }
  const ranks = [...scoreOf.values()];
  if (new Set(ranks).size < 2) throw invalid("scores: no two answers have different scores, so none is better");
  const texts = [...scoreOf.keys()];
  return { prefix, answers: texts.map(assistantTurn), ranks, places: responses.map((text) => texts.indexOf(text)) };
}

/** Every pair of different ranks, in the order of the answers. */
function pairsOf(ranks: readonly number[], margin: number, weight: number): AnswerPair[] {
  const pairs: AnswerPair[] = [];
  for (const [first, rank] of ranks.entries()) {
    for (const [offset, other] of ranks.slice(first + 1).entries()) {
      const second = first + 1 + offset;
      if (rank > other) pairs.push({ chosen: first, rejected: second, margin, weight });
      if (rank < other) pairs.push({ chosen: second, rejected: first, margin, weight });
    }
  }
  return pairs;
}

const assistantTurn = (content: string): Message => ({ role: "assistant", content });

const sameTurns = (a: readonly Message[], b: readonly Message[]): boolean => canonicalText(a) === canonicalText(b);

const invalid = (message: string): VlRewardError => new VlRewardError("invalid_record", message);

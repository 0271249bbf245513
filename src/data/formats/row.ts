/**
 * @file What a record of any format says: a prompt and answers to it. Everything behind the formats knows rows alone.
 */

import type { Message } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { canonicalText } from "../canonical.ts";

/**
 * - `prompt`: a conversation ending with the user's turn, and no answer to it
 * - `conversation`: one answer, the last of the turns as they were written
 * - `candidates`: any number of answers to be compared
 * - `pair`: the better one, then the worse
 */
export type RowKind = "prompt" | "conversation" | "candidates" | "pair";

export interface Row {
  readonly kind: RowKind;
  readonly prompt: readonly Message[];
  /** Assistant turns: none of a prompt, one of a conversation, two of a pair. */
  readonly answers: readonly Message[];
}

export const answerOf = (content: Message["content"]): Message => ({ role: "assistant", content });

/** @throws VlRewardError `no_assistant_turn` where the last turn is neither an answer nor asks for one */
export function conversationRow(messages: readonly Message[]): Row {
  const last = messages.at(-1);
  if (last?.role === "assistant") return { kind: "conversation", prompt: messages.slice(0, -1), answers: [last] };
  if (last?.role === "user" || last?.role === "tool") return { kind: "prompt", prompt: messages, answers: [] };
  throw nothingToScore(last?.role);
}

export const nothingToScore = (last: string | undefined): VlRewardError =>
  new VlRewardError(
    "no_assistant_turn",
    `nothing to score: the last of the messages is the ${last}'s; ` +
      "end with an assistant turn, or add responses, or chosen and rejected",
  );

/**
 * @param names what an error calls the answers
 * @throws VlRewardError `invalid_roles` where the prompt does not end with a turn that asks for them
 */
export function candidatesRow(prompt: readonly Message[], answers: readonly Message[], names = "responses"): Row {
  if (answers.length === 0) throw new VlRewardError("empty_candidates", `${names}: the list is empty`);
  requireUserTurn(prompt.at(-1)?.role, names);
  return { kind: "candidates", prompt, answers };
}

/** As `candidatesRow`. */
export function pairRow(
  prompt: readonly Message[],
  chosen: Message,
  rejected: Message,
  names = "chosen and rejected",
): Row {
  requireUserTurn(prompt.at(-1)?.role, names);
  return { kind: "pair", prompt, answers: [chosen, rejected] };
}

/**
 * A pair of two whole conversations, which have to be equal up to their last turns.
 *
 * @param names the record's keys that they stand under
 * @throws VlRewardError `no_assistant_turn`, `invalid_roles`, or `invalid_record` where the prompts differ
 */
export function pairOfConversations(
  chosen: readonly Message[],
  rejected: readonly Message[],
  names: readonly [string, string] = ["chosen", "rejected"],
): Row {
  const [better, worse] = [splitAnswer(chosen, names[0]), splitAnswer(rejected, names[1])];
  assertSamePrompt(better.prompt, worse.prompt, names);
  const role = better.prompt.at(-1)?.role;
  if (role === "user" || role === "tool") {
    return { kind: "pair", prompt: better.prompt, answers: [better.answer, worse.answer] };
  }
  throw new VlRewardError(
    "invalid_roles",
    `${names.join(" and ")}: expected a user turn before the answer, found ${role ? `the ${role}'s` : "none"}`,
  );
}

function splitAnswer(turns: readonly Message[], name: string) {
  const answer = turns.at(-1);
  if (answer?.role === "assistant") return { prompt: turns.slice(0, -1), answer };
  const found = answer === undefined ? "no turn" : `the ${answer.role}'s`;
  throw new VlRewardError("no_assistant_turn", `${name}: expected an assistant turn last, found ${found}`);
}

function assertSamePrompt(
  a: readonly Message[],
  b: readonly Message[],
  [first, second]: readonly [string, string],
): void {
  const advice =
    "a pair has one prompt, which both answers are compared for; score them as two conversations, or write two answers to one prompt";
  if (a.length !== b.length) {
    const found = `${a.length + 1} and ${b.length + 1} turns`;
    throw new VlRewardError(
      "invalid_record",
      `${first} and ${second} must differ in their last turn only, but have ${found}: ${advice}`,
    );
  }
  const turn = a.findIndex((message, index) => !sameTurns([message], b.slice(index, index + 1)));
  if (turn === -1) return;
  const what = sameTurns([withoutMedia(a[turn])], [withoutMedia(b[turn])])
    ? "show other pictures"
    : "are not the same turn";
  throw new VlRewardError(
    "invalid_record",
    `${first}[${turn}] and ${second}[${turn}] ${what}; only the last one may differ: ${advice}`,
  );
}

function withoutMedia(message: Message | undefined): Message {
  const { role = "user", content = "" } = message ?? {};
  return { role, content: typeof content === "string" ? content : content.filter((part) => part.type === "text") };
}

export const sameTurns = (a: readonly Message[], b: readonly Message[]): boolean =>
  canonicalText(a) === canonicalText(b);

/** The prompt of answers ends with a turn that asks for one. `answers` is what an error calls them. Throws `invalid_roles`. */
export function requireUserTurn(last: string | undefined, answers: string): void {
  if (last === "user" || last === "tool") return;
  throw new VlRewardError(
    "invalid_roles",
    `messages must end with a user turn when the record has ${answers}, found ${last ?? "nothing"} last`,
  );
}

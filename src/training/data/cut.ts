/**
 * @file How a record that is too long is cut. A reward is read at the end of an answer, so answers are never touched, nor
 * are the system turn and the question they answer: what goes are the oldest turns of the prompt, up to the next of the
 * user's, for both answers alike. A turn with a picture or video stays, because what follows is about it: a prompt
 * is not cut beyond it.
 */

import type { Message } from "../../conversation.ts";

/**
 * How many turns to leave out after `dropped` have been and it is still too long, or undefined when nothing more may go.
 *
 * @param prompt ends with a user turn
 */
export function nextCut(prompt: readonly Message[], dropped: number): number | undefined {
  const first = firstTurn(prompt);
  const from = first + dropped;
  const next = prompt.findIndex(({ role }, turn) => turn > from && role === "user");
  if (next === -1 || prompt.slice(from, next).some(hasMedia)) return undefined;
  return next - first;
}

/** The prompt without its `dropped` oldest turns; the system's stays. */
export function withoutOldest(prompt: readonly Message[], dropped: number): readonly Message[] {
  const first = firstTurn(prompt);
  return dropped === 0 ? prompt : [...prompt.slice(0, first), ...prompt.slice(first + dropped)];
}

const firstTurn = (prompt: readonly Message[]): number => (prompt[0]?.role === "system" ? 1 : 0);

const hasMedia = ({ content }: Message): boolean =>
  typeof content !== "string" && content.some(({ type }) => type !== "text");

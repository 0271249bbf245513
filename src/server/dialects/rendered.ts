/**
 * @file Texts that a policy's chat template has rendered and the policy has gone on with, as trainers send them, read as the
 * conversations that they are: padded at both ends, stopped at `<|im_end|>` without the template's newline or cut in the middle of
 * an answer, they would be scored at the wrong token as they stand. A text without turns is scored token for token.
 */

import type { ImagePart, Message, Part, Role, VideoPart } from "../../conversation.ts";
import { quote, VlRewardError } from "../../errors.ts";
import type { ConversationTask, Task } from "./dialect.ts";
import { invalid } from "./fields.ts";
import { piecesOf } from "./marks.ts";
import { inOrder, type MediaBeside, writtenText } from "./written.ts";

interface Turn {
  readonly role: Role;
  readonly content: string;
}

const opening = "<|im_start|>";
const ending = "<|im_end|>";
/** What policies are padded with: Qwen's own token, and those that trainers put in its place. */
const paddings = ["<|endoftext|>", "<|vision_pad|>", "<|PAD_TOKEN|>"];
/** What may stand around turns and means nothing; a batch may be padded with the token that ends a turn, too. */
const between = /(?:\s|<\|im_end\|>|<\|endoftext\|>|<\|vision_pad\|>|<\|PAD_TOKEN\|>)*/y;

/** Of a turn that lacks its end; the token alone may be a user's word. */
const turnInside = /<\|im_start\|>(?:system|user|assistant|tool|developer)\n/;

const roles: readonly string[] = ["system", "user", "assistant", "tool", "developer"] satisfies Role[];
const isRole = (role: string): role is Role => roles.includes(role);

/**
 * A prompt and its answer in one text. An answer without its end counts as complete; of a turn that was only opened there is nothing
 * to judge.
 *
 * @param key where the text stands in the body, for errors
 */
export function readRendered(text: string, beside: MediaBeside | undefined, key: string): Task {
  if (!isRendered(text)) return readWithoutTurns(text, beside, key);
  const { turns, isBegun } = splitTurns(text, key);
  if (!isBegun) throw nothingToJudge(`${key}: the last turn is opened and has no word in it`);
  return taskOf(turns, beside, key);
}

/**
 * A prompt, rendered or a bare question, and the answer by itself, which may be empty: a policy that stops at once has answered.
 *
 * @param keys where they stand in the body, for errors
 */
export function readExchange(
  prompt: string | readonly Message[],
  answer: string,
  beside: MediaBeside | undefined,
  keys: readonly [string, string],
): ConversationTask {
  const key = keys.join(" and ");
  const answering = `${opening}assistant\n`;
  if (typeof prompt !== "string") {
    const { turns } = splitTurns(answering + answer, keys[1]);
    const { prompt: between, answers } = taskOf(turns, undefined, keys[1]);
    return { prompt: [...prompt, ...between], answers };
  }
  if (!isRendered(prompt)) {
    const { turns } = splitTurns(answering + answer, keys[1]);
    return taskOf([{ role: "user", content: withoutPadding(prompt) }, ...turns], beside, key);
  }
  const { turns: asked, isOpen } = splitTurns(prompt, keys[0]);
  if (isOpen) return taskOf(splitTurns(withoutPadding(prompt) + answer, key).turns, beside, key);
  return taskOf([...asked, ...splitTurns(answering + answer, keys[1]).turns], beside, key);
}

/** Whether a text has turns, padding before them or not. */
export const isRendered = (text: string): boolean => text.startsWith(opening, endOfGap(text, 0));

function readWithoutTurns(text: string, beside: MediaBeside | undefined, key: string): Task {
  const bare = withoutPadding(text);
  if (bare === "") throw nothingToJudge(`${key}: the text is empty`);
  return writtenText(bare, beside, key);
}

function withoutPadding(text: string): string {
  let [from, to] = [0, text.length];
  for (;;) {
    const before = paddings.find((token) => text.startsWith(token, from));
    if (before === undefined || from + before.length > to) break;
    from += before.length;
  }
  for (;;) {
    const after = paddings.find((token) => text.endsWith(token, to) && to - token.length >= from);
    if (after === undefined) break;
    to -= after.length;
  }
  return text.slice(from, to);
}

function endOfGap(text: string, from: number): number {
  between.lastIndex = from;
  return from + (between.exec(text)?.[0].length ?? 0);
}

/** -> the turns, whether the last one has no end, and whether anything follows its first line: a word, an end or padding */
function splitTurns(
  text: string,
  key: string,
): { readonly turns: readonly Turn[]; readonly isOpen: boolean; readonly isBegun: boolean } {
  const turns: Turn[] = [];
  for (let at = endOfGap(text, 0); ; ) {
    if (!text.startsWith(opening, at)) {
      const found = quote(text.slice(at, at + 40));
      throw invalid(`${key}: expected ${opening} and a role after turn ${turns.length - 1}, found the text ${found}`);
    }
    const start = text.indexOf("\n", at) + 1;
    const role = text.slice(at + opening.length, start === 0 ? undefined : start - 1);
    if (!isRole(role)) {
      const message = `${key}: turn ${turns.length}: expected the role ${roles.join(", ")}, found ${quote(role)}`;
      throw new VlRewardError("invalid_roles", message);
    }
    if (start === 0) throw nothingToJudge(`${key}: turn ${turns.length} is cut before its first word`);
    const end = text.indexOf(ending, start);
    if (end === -1) {
      const content = withoutPadding(text.slice(start));
      turns.push({ role, content });
      return { turns, isOpen: true, isBegun: text.length > start };
    }
    turns.push({ role, content: text.slice(start, end) });
    at = endOfGap(text, end);
    if (at === text.length) return { turns, isOpen: false, isBegun: true };
  }
}

function taskOf(turns: readonly Turn[], beside: MediaBeside | undefined, key: string): ConversationTask {
  const last = turns.at(-1);
  if (last?.role !== "assistant") {
    throw nothingToJudge(
      `${key}: the last turn is the ${last?.role ?? "user"}'s; expected the assistant's, the answer`,
    );
  }
  const broken = turns.slice(0, -1).findIndex(({ content }) => turnInside.test(content));
  if (broken !== -1) {
    throw invalid(
      `${key}: turn ${broken} has no ${ending} before the next ${opening}; expected whole turns before the answer`,
    );
  }
  const messages = withMedia(turns, beside, key);
  return { prompt: messages.slice(0, -1), answers: messages.slice(-1) };
}

const nothingToJudge = (found: string): VlRewardError =>
  new VlRewardError("no_assistant_turn", `${found}; nothing to score without an answer`);

type Kind = "image" | "video";
type Piece = string | ImagePart | { readonly place: Kind };

/** One picture: a token for each of its parts, or one for all, as Qwen's and InternVL's processors leave them. */
const visual =
  /((?:<\|vision_start\|>)?(?:(?:<\|image_pad\|>)+|(?:<\|video_pad\|>)+)(?:<\|vision_end\|>)?|<img>(?:<IMG_CONTEXT>)+<\/img>)/;
const named = /(<image>|<video>)/;

/**
 * Turns with their pictures in place: those beside the text, else those that it marks, which stand at their marks or fill the places
 * that the template has left. Without such places `<image>` and `<video>` are the places of what is beside the text. The
 * assistant's words are text.
 */
function withMedia(turns: readonly Turn[], beside: MediaBeside | undefined, key: string): Message[] {
  const pieces = turns.map(({ role, content }) => (role === "assistant" ? [content] : split(content, visual)));
  const marks = pieces.flat().filter(isMark);
  const places = pieces.flat().filter(isPlace);
  if (beside !== undefined) {
    if (marks.length > 0)
      throw invalid(`${key}: the text marks pictures, and ${beside.key} has some too; keep one of them`);
    const placed =
      places.length > 0
        ? pieces
        : turns.map(({ role, content }) => (role === "assistant" ? [content] : split(content, named)));
    return fill(turns, placed, beside, key);
  }
  if (places.length === 0) return fill(turns, pieces, { key: "the text", parts: [] }, key);
  if (marks.length === 0) throw nothingThere(places, key);
  const rest = pieces.map((turn) => turn.filter((piece) => !isMark(piece)));
  const parts = marks.map((mark, index): ImagePart | VideoPart =>
    places[index]?.place === "video" ? { type: "video", video: mark.image } : mark,
  );
  return fill(turns, rest, { key: "its marks of registered pictures", parts }, key);
}

const isPlace = (piece: Piece): piece is Exclude<Piece, string | ImagePart> =>
  typeof piece !== "string" && "place" in piece;
const isMark = (piece: Piece): piece is ImagePart => typeof piece !== "string" && "image" in piece;

function split(content: string, places: RegExp): Piece[] {
  return content.split(places).flatMap((piece, index): Piece[] => {
    if (index % 2 === 0) return piecesOf(piece);
    return [{ place: piece.includes("video") ? "video" : "image" }];
  });
}

function fill(
  turns: readonly Turn[],
  pieces: readonly (readonly Piece[])[],
  { key: source, parts }: MediaBeside,
  key: string,
): Message[] {
  const places = pieces.flat().filter(isPlace);
  const left = inOrder(
    places.map(({ place }) => place),
    parts,
  )?.values();
  if (left === undefined) {
    throw invalid(
      `${key}: expected as many pictures and videos as there are places in the text (<|image_pad|>, <|video_pad|>; or <image>, ` +
        `<video> where there is none of them), found ${parts.length} in ${source} for ${places.length}`,
    );
  }
  return turns.map(({ role }, index) => {
    const filled = (pieces[index] ?? []).flatMap((piece) => (isPlace(piece) ? (left.next().value ?? []) : piece));
    return { role, content: contentOf(filled) };
  });
}

function contentOf(pieces: readonly (string | ImagePart | VideoPart)[]): Message["content"] {
  if (pieces.every((piece) => typeof piece === "string")) return pieces.join("");
  return pieces.map((piece): Part => (typeof piece === "string" ? { type: "text", text: piece } : piece));
}

/** How a client that sends rendered text gets its pictures here. */
const waysToSend =
  '/get_reward takes them as "images": [[...], ...], as "images" in "labels" or as messages in "prompts"; on any path they can be ' +
  "registered with POST /v1/media and named by <media:sha256:...> in the text";

const nothingThere = (places: readonly { readonly place: Kind }[], key: string): VlRewardError =>
  invalid(
    `${key}: the text has ${places.length === 1 ? "a place" : `${places.length} places`} for ` +
      `${places.some(({ place }) => place === "video") ? "pictures or videos" : "pictures"} and none is there; ${waysToSend}`,
  );

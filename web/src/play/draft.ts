/** @file What a person has written: a question with pictures and answers, as the record that it is, in links and in the history. */

import type { CandidatesRecord, ContentPart } from "../api.ts";
import { blobOf, type Medium, mediumOf, partOf, wholePart } from "./media.ts";

export interface Draft {
  readonly question: string;
  readonly media: readonly Medium[];
  readonly answers: readonly string[];
}

export const emptyDraft: Draft = { question: "", media: [], answers: ["", ""] };

/** Whether there is something to rank. */
export const isComplete = ({ question, answers }: Draft): boolean =>
  question.trim() !== "" && answers.some((answer) => answer.trim() !== "");

/** As the server reads it: answers that are empty still are left out. -> the record, and which answers its responses are */
export async function recordOf(
  { question, media, answers }: Draft,
  signal: AbortSignal,
): Promise<{ readonly record: CandidatesRecord; readonly indices: readonly number[] }> {
  const parts = await Promise.all(media.map((medium) => partOf(medium, signal)));
  const indices = answers.flatMap((answer, index) => (answer.trim() === "" ? [] : [index]));
  const responses = indices.map((index) => answers[index] ?? "");
  return { record: { messages: [userTurn(parts, question)], responses }, indices };
}

/** A line for `vl-reward score`, its pictures inside. */
export async function wholeRecord({ question, media, answers }: Draft): Promise<CandidatesRecord> {
  const parts = await Promise.all(media.map(wholePart));
  return { messages: [userTurn(parts, question)], responses: answers.filter((answer) => answer.trim() !== "") };
}

const userTurn = (parts: readonly ContentPart[], question: string) => ({
  role: "user",
  content: [...parts, { type: "text" as const, text: question }],
});

/** A record with its pictures inside, or beside the page, as a draft. */
export async function draftOf(
  { messages, responses }: CandidatesRecord,
  urlOf = (source: string) => source,
): Promise<Draft> {
  const content = messages.at(-1)?.content ?? "";
  const parts: readonly ContentPart[] = typeof content === "string" ? [{ type: "text", text: content }] : content;
  const media: Medium[] = [];
  for (const part of parts) {
    if (part.type === "text") continue;
    const source = part.image ?? part.video ?? "";
    const file = source.startsWith("data:") ? blobOf(source) : await (await fetch(urlOf(source))).blob();
    const medium = mediumOf(file, source.startsWith("data:") ? part.type : (source.split("/").at(-1) ?? part.type));
    if (medium) media.push(medium);
  }
  const question = parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n");
  return { question, media, answers: responses };
}

/** As the fragment of a link: gzip, then base64 for addresses. */
export async function toFragment(draft: Draft): Promise<string> {
  const text = JSON.stringify(await wholeRecord(draft));
  const packed = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return `#s=${btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

/** Undefined for a fragment that is none. */
export async function fromFragment(fragment: string): Promise<Draft | undefined> {
  if (!fragment.startsWith("#s=")) return undefined;
  const binary = atob(fragment.slice(3).replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  return draftOf(JSON.parse(text));
}

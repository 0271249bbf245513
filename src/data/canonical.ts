/**
 * @file Whether turns say the same, however they are written: a string is one part of text, texts side by side are one,
 * the order of keys means nothing. Addresses are compared as they are written, because two files may be one picture
 * and nobody has looked.
 */

import { createHash } from "node:crypto";
import type { Message, Part } from "../conversation.ts";

/** A text that is equal for equal turns and for no others. */
export function canonicalText(messages: readonly Message[]): string {
  return JSON.stringify(messages.map(({ role, content }) => [role, ...joinTexts(content)]));
}

/** 52 bits of a hash of the turns, as a whole number: what is equal stays together, on every machine and in any order. */
export function promptHash(prompt: readonly Message[]): number {
  const digest = createHash("sha256").update(canonicalText(prompt)).digest();
  return digest.readUInt32BE(0) * 2 ** 20 + (digest.readUInt32BE(4) >>> 12);
}

/** As `promptHash`, but between 0 and 1. */
export const hashShare = (hash: number): number => hash / 2 ** 52;

function joinTexts(content: Message["content"]): unknown[] {
  const parts: readonly Part[] = typeof content === "string" ? [{ type: "text", text: content }] : content;
  const joined: unknown[] = [];
  let text = "";
  for (const part of parts) {
    if (part.type === "text") {
      text += part.text;
      continue;
    }
    if (text !== "") joined.push(text);
    text = "";
    joined.push(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  }
  if (text !== "") joined.push(text);
  return joined;
}

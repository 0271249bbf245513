/**
 * @file Marks of registered pictures and videos in a text, for clients that can send nothing but text. A mark is `<media:sha256:HEX>`
 * with the 64 hexadecimal digits that POST /v1/media answered, as they are; the angle brackets may be missing. It stands where the
 * picture is to be seen, in any turn but the assistant's, whose words are text whatever they are.
 */

import type { ImagePart, Message, Part } from "../../conversation.ts";

const mark = /(<media:sha256:[0-9a-f]{64}>|media:sha256:[0-9a-f]{64})/;

/** A text's pieces, a mark as the part that it means: the registry knows whether that is a picture or a video. */
export function piecesOf(text: string): (string | ImagePart)[] {
  return text
    .split(mark)
    .map((piece, index): string | ImagePart =>
      index % 2 === 0 ? piece : { type: "image", image: piece.replace(/^<|>$/g, "") },
    )
    .filter((piece) => piece !== "");
}

export const hasMark = (text: string): boolean => text.includes("media:sha256:") && mark.test(text);

/** Turns whose marks are pictures. */
export function withMarkedMedia(messages: readonly Message[]): readonly Message[] {
  return messages.map((message) => {
    const { role, content } = message;
    if (role === "assistant") return message;
    if (typeof content === "string") return hasMark(content) ? { role, content: partsOf(content) } : message;
    if (!content.some((part) => part.type === "text" && hasMark(part.text))) return message;
    return { role, content: content.flatMap((part) => (part.type === "text" ? partsOf(part.text) : [part])) };
  });
}

const partsOf = (text: string): Part[] =>
  piecesOf(text).map((piece) => (typeof piece === "string" ? { type: "text", text: piece } : piece));

/** @file Prompts that are scored token for token: a text whose special tokens are recognised, or token ids. */

import type { ImagePart, VideoPart } from "../../conversation.ts";
import type { WrittenTask } from "./dialect.ts";
import { invalid } from "./fields.ts";
import { hasMark, piecesOf } from "./marks.ts";

/** Pictures and videos for the places of a text, and where in the body they stand. */
export interface MediaBeside {
  readonly key: string;
  readonly parts: readonly (ImagePart | VideoPart)[];
}

const pads = /(?:<\|image_pad\|>)+|(?:<\|video_pad\|>)+/g;
const answering = "<|im_start|>assistant\n";
const place = "<|vision_start|><|image_pad|><|vision_end|>";

/**
 * A text with pictures or videos for its places. Registered ones that it marks fill the places, or stand at their marks where there
 * is none.
 *
 * @param key where the text stands in the body, for errors
 * @throws VlRewardError `invalid_request` for a place that nothing is there for, and for a picture without a place
 */
export function writtenText(text: string, beside: MediaBeside | undefined, key: string): WrittenTask {
  if (text === "") throw invalid(`${key}: expected a text, found the string ""`);
  const answer = text.lastIndexOf(answering);
  const asked = answer === -1 ? text : text.slice(0, answer);
  if (hasMark(asked)) return marked(asked, text.slice(asked.length), beside, key);
  const kinds = placesIn(text);
  const parts = beside?.parts ?? [];
  if (kinds.length > 0 && parts.length === 0) {
    throw invalid(
      `${key}: the text has ${kinds.length} places for pictures or videos and none is there; /classify takes them as "image_data" beside ` +
        '"text", or as parts of "messages"; on any path they can be registered with POST /v1/media and named by <media:sha256:...> in the text',
    );
  }
  const media = inOrder(kinds, parts);
  if (media === undefined) {
    throw invalid(
      `${key}: expected as many pictures and videos as there are places in the text (<|image_pad|>, <|video_pad|>), found ` +
        `${parts.length} in ${beside?.key ?? "the body"} for ${kinds.length}`,
    );
  }
  return { written: text, media };
}

/** The pictures and videos in the order of the places for them; undefined where they are not as many. */
export function inOrder(
  kinds: readonly ("image" | "video")[],
  parts: readonly (ImagePart | VideoPart)[],
): readonly (ImagePart | VideoPart)[] | undefined {
  if (kinds.length !== parts.length) return undefined;
  const left = {
    image: parts.filter(({ type }) => type === "image"),
    video: parts.filter(({ type }) => type === "video"),
  };
  const media = kinds.flatMap((kind) => left[kind].shift() ?? []);
  return media.length === kinds.length ? media : undefined;
}

/** @param answer the last turn, where it is the assistant's: its words are text */
function marked(asked: string, answer: string, beside: MediaBeside | undefined, key: string): WrittenTask {
  if (beside !== undefined)
    throw invalid(`${key}: the text marks pictures, and ${beside.key} has some too; keep one of them`);
  const pieces = [...piecesOf(asked), ...(answer === "" ? [] : [answer])];
  const marks = pieces.filter((piece) => typeof piece !== "string");
  const bare = pieces.filter((piece) => typeof piece === "string").join("");
  const kinds = placesIn(bare);
  if (kinds.length === 0) {
    return { written: pieces.map((piece) => (typeof piece === "string" ? piece : place)).join(""), media: marks };
  }
  const media = kinds.flatMap((kind, index): (ImagePart | VideoPart)[] => {
    const mark = marks[index];
    if (mark === undefined) return [];
    return [kind === "image" ? mark : { type: "video", video: mark.image }];
  });
  if (marks.length === kinds.length) return { written: bare, media };
  throw invalid(`${key}: the text marks ${marks.length} pictures and has places for ${kinds.length}; expected as many`);
}

const placesIn = (text: string): ("image" | "video")[] =>
  (text.match(pads) ?? []).map((run) => (run.startsWith("<|image_pad|>") ? "image" : "video"));

/**
 * @file Pictures and videos that stand beside the messages (`images`, `videos`), as other tools write them, and the places in the
 * messages that they fill: `<image>` and `<video>` in a text, or a part that names none.
 *
 * A key with as many entries as there are places fills them in order. Where there is no place at all, its entries go before
 * the first user turn's text, as ms-swift and TRL do it. Any other number is an error. A mark in an answer, and one
 * without such a key, is text.
 */

import { z } from "zod";
import type { Message, Part } from "../conversation.ts";
import { VlRewardError } from "../errors.ts";
import type { DraftMessage } from "./messages.ts";
import { addressOf, type EmptyPart, location } from "./parts.ts";
import { jsonPath } from "./schema-errors.ts";

type Kind = EmptyPart["empty"];

const pictures = z.union([location, z.array(location, "a list of pictures")], "a picture or a list of pictures");
const frames = z.array(location, "a list of frames");
const videos = z.union(
  [location, z.array(z.union([location, frames], "a video or a list of its frames"), "a list of videos")],
  "a video or a list of videos",
);

/** The keys that pictures and videos stand under beside messages, in all formats. */
export const besideKeys = {
  images: pictures.exactOptional(),
  image: pictures.exactOptional(),
  image_url: pictures.exactOptional(),
  image_path: pictures.exactOptional(),
  videos: videos.exactOptional(),
  video: videos.exactOptional(),
  video_url: videos.exactOptional(),
  video_path: videos.exactOptional(),
};
type BesideWire = z.infer<z.ZodObject<typeof besideKeys>>;

interface Column {
  /** The record's key, for errors. */
  readonly key: string;
  readonly parts: readonly Part[];
}

/** What stands beside the messages of a record, by kind; undefined where no key of that kind is there. */
export type Beside = Readonly<Record<Kind, Column | undefined>>;

export const nothingBeside: Beside = { image: undefined, video: undefined };

/** @throws VlRewardError `invalid_record` where two keys hold the same kind, or it is not clear what a list means */
export function readBeside({ image_path, ...wire }: BesideWire): Beside {
  const isOrigin = wire.image !== undefined && holdsBytes(wire.image); // RLAIF-V's: where the bytes are from
  return {
    image: oneColumn("image", [
      ["images", wire.images],
      ["image", wire.image],
      ["image_url", wire.image_url],
      ["image_path", isOrigin ? undefined : image_path],
    ]),
    video: oneColumn("video", [
      ["videos", wire.videos],
      ["video", wire.video],
      ["video_url", wire.video_url],
      ["video_path", wire.video_path],
    ]),
  };
}

const holdsBytes = (value: z.infer<typeof pictures>): boolean =>
  typeof value === "object" && "bytes" in value && Boolean(value.bytes);

function oneColumn(
  kind: Kind,
  columns: readonly (readonly [string, z.infer<typeof videos> | undefined])[],
): Column | undefined {
  const given = columns.flatMap(([key, value]) => (value === undefined ? [] : [{ key, value }]));
  const [first, second] = given;
  if (first === undefined) return undefined;
  if (second !== undefined) {
    throw invalid(`${first.key} and ${second.key} both hold ${kind}s beside the messages; keep one of them`);
  }
  return { key: first.key, parts: kind === "image" ? imageParts(first) : videoParts(first) };
}

interface Given {
  readonly key: string;
  readonly value: z.infer<typeof videos>;
}

function imageParts({ key, value }: Given): Part[] {
  return (Array.isArray(value) ? value : [value]).map((one, index) => {
    if (Array.isArray(one)) throw invalid(`${jsonPath([key, index])}: expected a picture, found a list`);
    return { type: "image", image: addressOf(one, "image") };
  });
}

/** A list under `video` may be of videos or of one video's frames: the addresses have to tell. */
function videoParts({ key, value }: Given): Part[] {
  if (!Array.isArray(value)) return [{ type: "video", video: addressOf(value, "video") }];
  const isFrame = (one: (typeof value)[number]) =>
    !Array.isArray(one) && /\.(png|jpe?g|webp|bmp|tiff?)$|^data:image\//i.test(addressOf(one, "video"));
  const ofFrames = value.filter(isFrame).length;
  if (ofFrames > 0 && ofFrames < value.length) {
    throw invalid(
      `${key}: expected videos, or the frames of one, found some of both; write a list of frames as a list in it`,
    );
  }
  const entries = ofFrames > 0 ? [value] : value;
  return entries.map((one) => ({
    type: "video",
    video: Array.isArray(one) ? one.map((frame) => frameAddress(frame, key)) : addressOf(one, "video"),
  }));
}

function frameAddress(frame: z.infer<typeof location> | z.infer<typeof frames>, key: string): string {
  if (Array.isArray(frame)) throw invalid(`${key}: expected a frame, found a list in a list of frames`);
  return addressOf(frame, "image");
}

const mark = /<(image|video)>/;

/**
 * The turns with their pictures and videos in place.
 *
 * @throws VlRewardError `invalid_record` where what is beside them and the places for it are not as many, and for a place
 *   that nothing is there for
 */
export function placeMedia(turns: readonly DraftMessage[], beside: Beside = nothingBeside): Message[] {
  const columns = ([beside.image, beside.video] as const).filter((column) => column !== undefined);
  if (columns.length === 0) return turns.map(asWritten);
  const parts = turns.map((turn) => withMarks(turn, beside));
  const first = turns.findIndex(({ role }) => role === "user");
  const before: Part[] = [];
  for (const kind of ["image", "video"] as const) {
    const column = beside[kind];
    if (column === undefined) continue;
    const places = parts.flat().filter((part) => "empty" in part && part.empty === kind).length;
    if (places === column.parts.length) continue;
    const own = parts.flat().filter((part) => "type" in part && part.type === kind).length;
    if (places > 0 || own > 0 || first === -1) throw wrongCount(kind, column, places, own);
    before.push(...column.parts);
  }
  const queues = { image: [...(beside.image?.parts ?? [])], video: [...(beside.video?.parts ?? [])] };
  return turns.map(({ role, content, path }, turn) => {
    const filled = (parts[turn] ?? []).map((part, index): Part => {
      if (!("empty" in part)) return part;
      const own = queues[part.empty].shift();
      if (own === undefined) throw nothingThere(part, `${path}.content[${index}]`);
      return { ...own, ...part.options };
    });
    const all = turn === first ? [...before, ...filled] : filled;
    return { role, content: typeof content === "string" && all.every(isText) ? content : all };
  });
}

const isText = (part: Part): boolean => part.type === "text";

function asWritten({ role, content, path }: DraftMessage): Message {
  if (typeof content === "string") return { role, content };
  return {
    role,
    content: content.map((part, index) => {
      if ("empty" in part) throw nothingThere(part, `${path}.content[${index}]`);
      return part;
    }),
  };
}

/** The parts of a turn, its marks as places; an answer's are text, for pages and programs have such words in them. */
function withMarks({ role, content }: DraftMessage, beside: Beside): (Part | EmptyPart)[] {
  const parts: readonly (Part | EmptyPart)[] =
    typeof content === "string" ? [{ type: "text", text: content }] : content;
  if (role === "assistant") return [...parts];
  return parts.flatMap((part) => ("type" in part && part.type === "text" ? splitAtMarks(part.text, beside) : [part]));
}

function splitAtMarks(text: string, beside: Beside): (Part | EmptyPart)[] {
  const parts: (Part | EmptyPart)[] = [];
  let before = "";
  for (const [index, piece] of text.split(mark).entries()) {
    const kind = index % 2 === 1 && (piece === "image" || piece === "video") ? piece : undefined;
    if (kind === undefined || beside[kind] === undefined) {
      before += kind === undefined ? piece : `<${kind}>`;
      continue;
    }
    if (before !== "") parts.push({ type: "text", text: before });
    before = "";
    parts.push({ empty: kind, options: {} });
  }
  if (before !== "" || parts.length === 0) parts.push({ type: "text", text: before });
  return parts;
}

function wrongCount(kind: Kind, { key, parts }: Column, places: number, own: number): VlRewardError {
  const there = own > 0 ? `, which also have ${own} of their own` : "";
  return invalid(
    `${key}: expected as many as there are places in the messages (<${kind}> in a text, or a part of type ${kind} ` +
      `without an address)${there}; found ${parts.length} for ${places}`,
  );
}

const nothingThere = ({ empty }: EmptyPart, path: string): VlRewardError =>
  invalid(
    `${path}: a place for ${empty === "image" ? "a picture" : "a video"}, but it names none, and neither does "${empty}s" beside the messages`,
  );

const invalid = (message: string): VlRewardError => new VlRewardError("invalid_record", message);

/**
 * @file Where the pictures and videos of a request may lie: in the request, in the registry, or behind an address where the server
 * was told to fetch. A path is refused whatever it names: what the engine opens below the registry's folder comes from here alone.
 */

import type { Message, Part, VideoPart } from "../conversation.ts";
import type { Group } from "../engine/group.ts";
import { VlRewardError } from "../errors.ts";
import { mediaName } from "../media/name.ts";
import { type MediaPolicy, serverPolicy, sourceKind } from "../media/policy.ts";
import type { Task } from "./dialects/dialect.ts";
import type { MediaRegistry } from "./media-registry.ts";

/** What the engine of a server may open. */
export function policyOfServer(
  registry: MediaRegistry,
  addresses: MediaPolicy["addresses"],
  limits: Partial<MediaPolicy["limits"]>,
): MediaPolicy {
  return {
    ...serverPolicy,
    files: { below: registry.folder },
    addresses,
    limits: { ...serverPolicy.limits, ...limits },
  };
}

/** Rejects with `media_forbidden` for a path, and `media_not_found` for what is not registered. */
export async function groupOfTask(task: Task, registry: MediaRegistry): Promise<Group> {
  const baseFolder = registry.folder;
  if ("written" in task) {
    const media = await Promise.all(task.media.map((part) => placed(part, registry)));
    return { written: task.written, media: media.filter((part) => part.type !== "text"), baseFolder };
  }
  const turns = (messages: readonly Message[]) => Promise.all(messages.map((message) => placedTurn(message, registry)));
  const [prefix, branches] = await Promise.all([turns(task.prompt), turns(task.answers)]);
  return { prefix, branches, baseFolder };
}

/** Whether what a group says may be something else the next time it is asked: what an address leads to. */
export function hasAddresses(group: Group): boolean {
  const parts = "written" in group ? group.media : [...group.prefix, ...group.branches].flatMap(partsOf);
  return parts.some((part) => sourcesOf(part).some((source) => sourceKind(source) === "address"));
}

const partsOf = ({ content }: Message): readonly Part[] => (typeof content === "string" ? [] : content);

function sourcesOf(part: Part): readonly string[] {
  if (part.type === "text") return [];
  if (part.type === "image") return [part.image];
  return typeof part.video === "string" ? [part.video] : part.video;
}

async function placedTurn(message: Message, registry: MediaRegistry): Promise<Message> {
  if (typeof message.content === "string") return message;
  return { ...message, content: await Promise.all(message.content.map((part) => placed(part, registry))) };
}

async function placed(part: Part, registry: MediaRegistry): Promise<Part> {
  switch (part.type) {
    case "text":
      return part;
    case "image": {
      const { path, kind } = await place(part.image, registry);
      if (kind !== "video") return { ...part, image: path };
      const { type, image, ...options } = part; // a mark in a text does not say what it names; the registry knows
      return { type: "video", video: path, ...options };
    }
    case "video":
      return placedVideo(part, registry);
  }
}

async function placedVideo(part: VideoPart, registry: MediaRegistry): Promise<VideoPart> {
  if (typeof part.video === "string") return { ...part, video: (await place(part.video, registry)).path };
  const frames = await Promise.all(part.video.map((frame) => place(frame, registry)));
  return { ...part, video: frames.map(({ path }) => path) };
}

async function place(
  source: string,
  registry: MediaRegistry,
): Promise<{ readonly path: string; readonly kind?: "image" | "video" }> {
  const registered = await registry.find(source);
  if (registered !== undefined) return registered;
  if (sourceKind(source) !== "file") return { path: source };
  throw new VlRewardError(
    "media_forbidden",
    `${mediaName(source)} is a path, and this server opens no files; send a data URL, or register it with POST /v1/media`,
  );
}

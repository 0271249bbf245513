/** @file The fields that vLLM's requests have in common: what changes a score is honoured, or refused where it cannot be. */

import { z } from "zod";
import { text } from "../../data/parts.ts";
import { VlRewardError } from "../../errors.ts";
import type { MediaOptions } from "./conversations.ts";
import type { Body } from "./dialect.ts";
import { flag, has, invalid, modelOf, optional, read } from "./fields.ts";

export interface VllmFields {
  readonly model: string | undefined;
  readonly priority: number | undefined;
  readonly cacheSalt: string | undefined;
  readonly isSigmoid: boolean;
  readonly mediaOptions: MediaOptions;
  /** Longer conversations would be cut. */
  readonly mostTokens: number | undefined;
}

/** What the server does with them, whatever is asked. */
export const routed = ({ model, priority, cacheSalt }: VllmFields) => ({ model, priority, cacheSalt });

const salt = text.refine((value) => value.length >= 1 && value.length <= 1024, "expected 1 to 1024 characters");
const truncation = z.int("a whole number, -1 or more").min(-1, "a whole number, -1 or more");
const object = z.record(z.string(), z.unknown(), "an object");

export function readVllmFields(body: Body): VllmFields {
  assertOwnTemplate(body);
  const priority = optional(z.int("a whole number"), body, "priority");
  const most = optional(truncation, body, "truncate_prompt_tokens");
  return {
    model: modelOf(body),
    priority: priority === undefined ? undefined : 0 - priority, // vLLM's smaller numbers come first
    cacheSalt: optional(salt, body, "cache_salt"),
    isSigmoid: asksForSigmoid(body),
    mediaOptions: readMediaOptions(body),
    mostTokens: most === -1 ? undefined : most,
  };
}

/** `activation` and `softmax` are what `use_activation` was called before; all of them mean the sigmoid of the one logit. */
function asksForSigmoid(body: Body): boolean {
  const names = ["use_activation", "activation", "softmax"] as const;
  const given = names.flatMap((name) => {
    const value = optional(flag, body, name);
    return value === undefined ? [] : [{ name, value }];
  });
  const [first] = given;
  const other = given.find(({ value }) => value !== first?.value);
  if (first && other) throw invalid(`${first.name} and ${other.name} contradict each other; keep one of them`);
  return first?.value ?? false;
}

/** Of these, a template without a generation prompt makes nothing. */
const harmlessKwargs = ["enable_thinking", "thinking"];

function assertOwnTemplate(body: Body): void {
  if (has(body, "chat_template")) {
    throw invalid("chat_template: this server renders with the model's own template only; leave it out");
  }
  for (const key of ["tools", "functions", "documents"]) {
    if (key === "documents" && !has(body, "messages")) continue; // a reranker's
    if (has(body, key) && !isEmptyList(body[key])) {
      throw invalid(`${key}: would not be read; definitions and documents have to stand in the system turn`);
    }
  }
  const kwargs = Object.keys(optional(object, body, "chat_template_kwargs") ?? {});
  const unread = kwargs.find((name) => !harmlessKwargs.includes(name));
  if (unread !== undefined) {
    throw invalid(`chat_template_kwargs.${unread}: this server renders as the model was trained; leave it out`);
  }
}

const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

const pixels = z.int("a positive whole number").positive("a positive whole number");
const rate = z.number("a positive number").positive("a positive number");

function readMediaOptions(body: Body): MediaOptions {
  const { min_pixels, max_pixels, fps, ...others } = optional(object, body, "mm_processor_kwargs") ?? {};
  refuseOthers(others, "mm_processor_kwargs", "min_pixels, max_pixels and fps");
  const io = optional(object, body, "media_io_kwargs") ?? {};
  const { video, ...kinds } = io;
  refuseOthers(kinds, "media_io_kwargs", "video.fps and video.num_frames");
  const videoIo = video === undefined || video === null ? {} : read(object, video, ["media_io_kwargs", "video"]);
  const { fps: ioFps, num_frames, ...rest } = videoIo;
  refuseOthers(rest, "media_io_kwargs.video", "fps and num_frames");
  const number = (schema: typeof rate | typeof pixels, value: unknown, key: readonly string[]) =>
    value === undefined || value === null ? undefined : read(schema, value, key);
  const found = {
    minPixels: number(pixels, min_pixels, ["mm_processor_kwargs", "min_pixels"]),
    maxPixels: number(pixels, max_pixels, ["mm_processor_kwargs", "max_pixels"]),
    fps: number(rate, fps, ["mm_processor_kwargs", "fps"]) ?? number(rate, ioFps, ["media_io_kwargs", "video", "fps"]),
    nframes: number(pixels, num_frames, ["media_io_kwargs", "video", "num_frames"]),
  };
  if (found.fps !== undefined && found.nframes !== undefined) {
    throw invalid("media_io_kwargs.video.num_frames: fps is there, too; keep one of them");
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

function refuseOthers(others: Readonly<Record<string, unknown>>, key: string, known: string): void {
  for (const [name, value] of Object.entries(others)) {
    if (value === undefined || value === null) continue;
    if (typeof value === "object" && Object.keys(value).length === 0) continue;
    throw invalid(`${key}.${name.slice(0, 60)}: would not be honoured; known are ${known}`);
  }
}

/** Of messages that end with an open turn there is no reward. */
export function assertClosedTurn(body: Body): void {
  const isGenerating = optional(flag, body, "add_generation_prompt") ?? false;
  const isContinuing = optional(flag, body, "continue_final_message") ?? false;
  if (isGenerating && isContinuing) {
    throw invalid("add_generation_prompt and continue_final_message exclude each other; leave both out");
  }
  if (!isGenerating && !isContinuing) return;
  const key = isGenerating ? "add_generation_prompt" : "continue_final_message";
  throw new VlRewardError(
    "no_assistant_turn",
    `${key}: the conversation would end with an open turn, and a reward is of a whole answer; leave it out`,
  );
}

/**
 * @file SGLang's /classify and /encode: one prompt or several, each with its pictures; an object is answered to one, a list to a
 * list. verl's adapter posts here.
 */

import { z } from "zod";
import { text } from "../../data/parts.ts";
import { jsonPath } from "../../data/schema-errors.ts";
import { scoresOf } from "./answers.ts";
import { mediaUnder } from "./conversations.ts";
import type { Body, Dialect, Task } from "./dialect.ts";
import { has, invalid, type Key, modelOf, optional, read, texts } from "./fields.ts";
import { idsTask } from "./prompts.ts";
import { type MediaBeside, writtenText } from "./written.ts";

const mediaKeys = { image_data: "images", video_data: "videos" } as const;

export const sglangClassify: Dialect = {
  name: "sglang-classify",
  title: "SGLang /classify and /encode, verl's SGLang adapter",
  paths: ["/classify", "/v1/classify", "/encode"],
  methods: ["POST", "PUT"],
  errors: "sglang",
  shape:
    '{"text": string | [string, ...]} or {"input_ids": [int, ...] | [[int, ...], ...]}, "image_data"?, "video_data"?',
  example: {
    text: "<|im_start|>user\nWhich number is the largest: 187, 339, 243, 5?<|im_end|>\n<|im_start|>assistant\nIt is 339.<|im_end|>\n",
  },
  detects: (body) => ["text", "input_ids", ...Object.keys(mediaKeys)].some((key) => has(body, key)),
  read: (body) => {
    for (const key of ["lora_path", "audio_data"]) {
      if (has(body, key)) throw invalid(`${key}: would not be honoured; leave it out`);
    }
    if (has(body, "dimensions") && body.dimensions !== 1)
      throw invalid("dimensions: a reward has one; leave the key out");
    const { tasks, isList } = readTasks(body);
    const rids = readRids(body, tasks.length, isList);
    return {
      tasks,
      model: modelOf(body),
      priority: optional(z.number("a number"), body, "priority"),
      answer: (results, { id, seconds = 0 }) => {
        const answers = scoresOf(results).map((score, index) => ({
          embedding: [score],
          meta_info: {
            id: rids[index] ?? (isList ? `${id}-${index}` : id),
            finish_reason: null,
            prompt_tokens: results[index]?.tokens ?? 0,
            e2e_latency: seconds,
          },
        }));
        return isList ? answers : answers[0];
      },
    };
  },
};

function readTasks(body: Body): { readonly tasks: readonly Task[]; readonly isList: boolean } {
  if (has(body, "text") && has(body, "input_ids"))
    throw invalid("text and input_ids exclude each other; keep one of them");
  if (has(body, "input_ids")) return readIds(body);
  if (!Array.isArray(body.text)) {
    const prompt = read(text, body.text, ["text"]);
    return { tasks: [writtenText(prompt, mediaOfOne(body), "text")], isList: false };
  }
  const prompts = read(texts, body.text, ["text"]);
  if (prompts.length === 0) throw invalid("text: expected at least one prompt, found an empty list");
  const media = mediaOfSeveral(body, prompts.length);
  return {
    tasks: prompts.map((prompt, index) => writtenText(prompt, media[index], `text[${index}]`)),
    isList: true,
  };
}

function readIds(body: Body): { readonly tasks: readonly Task[]; readonly isList: boolean } {
  const ids: unknown = body.input_ids;
  const isList = Array.isArray(ids) && ids.length > 0 && ids.every((entry) => Array.isArray(entry));
  if (!isList) return { tasks: [idsTask(ids, ["input_ids"], mediaOfOne(body)?.parts)], isList };
  const media = mediaOfSeveral(body, ids.length);
  return { tasks: ids.map((own, index) => idsTask(own, ["input_ids", index], media[index]?.parts)), isList };
}

/** One picture, or a flat list of them. */
function mediaOfOne(body: Body): MediaBeside | undefined {
  return besideOf(
    Object.keys(mediaKeys).map((key) => {
      const value = body[key];
      const isNested = key === "image_data" && Array.isArray(value) && value.length === 1 && Array.isArray(value[0]);
      return { key: [key], name: nameOf(key), value: isNested ? value[0] : value };
    }),
  );
}

/** One entry for each prompt: null, one, or a list; what is no list goes to all. */
function mediaOfSeveral(body: Body, count: number): readonly (MediaBeside | undefined)[] {
  for (const key of Object.keys(mediaKeys)) {
    const value = body[key];
    if (!Array.isArray(value) || value.length === count) continue;
    throw invalid(`${key}: expected an entry for each prompt, ${count}, found ${value.length}`);
  }
  return Array.from({ length: count }, (_, index) =>
    besideOf(
      Object.keys(mediaKeys).map((key) => {
        const value = body[key];
        if (!Array.isArray(value)) return { key: [key], name: nameOf(key), value };
        return { key: [key, index], name: nameOf(key), value: value[index] };
      }),
    ),
  );
}

const nameOf = (key: string): "images" | "videos" => (key === "image_data" ? "images" : "videos");

function besideOf(
  given: readonly { readonly key: Key; readonly name: "images" | "videos"; readonly value: unknown }[],
): MediaBeside | undefined {
  const parts = given.flatMap(({ key, name, value }) => mediaUnder(name, value, key));
  return parts.length === 0 ? undefined : { key: given.map(({ key }) => jsonPath(key)).join(" and "), parts };
}

function readRids(body: Body, count: number, isList: boolean): readonly string[] {
  if (!has(body, "rid")) return [];
  if (!isList) return [read(z.string("a string"), body.rid, ["rid"])];
  const rids = read(z.union([z.string("a string"), texts], "a string or a list of strings"), body.rid, ["rid"]);
  if (typeof rids === "string") return Array.from({ length: count }, (_, index) => `${rids}_${index}`);
  if (rids.length !== count) throw invalid(`rid: expected one for each prompt, ${count}, found ${rids.length}`);
  return rids;
}

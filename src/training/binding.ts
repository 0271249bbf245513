/**
 * @file What a saved state is bound to: the configuration but a few keys, the content of the data, the weights that training
 * began with. A run that goes on from it must have the same; what may be different is announced.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { snakeCase } from "../files/camel-case.ts";
import type { RewardModel } from "../models/reward-model.ts";
import type { TrainConfig } from "./config/config.ts";

export const bindingSchema = z.object({
  /** Every key of the configuration that has a value, as `stages.0.batch_size`; values as JSON. */
  config: z.record(z.string(), z.string()),
  /** A hash of what each entry of data holds, by its place. */
  data: z.record(z.string(), z.string()),
  base: z.object({
    /** Of the weights that training began with, where they were not drawn, and of the files that say how to read them. */
    fingerprint: z.string(),
    /** Of the hub's repository, where the model is one of the hub's. */
    commit: z.string().nullable(),
  }),
});

export type Binding = Readonly<z.infer<typeof bindingSchema>>;
export type BaseModel = Binding["base"];

/**
 * Keys that may change between the steps of a run. Paths and names do because what stands there is bound by its content;
 * learning rates because that is what helps a run that has diverged; `on_bad_record` because a record that stopped a run has
 * to be got past (which records are usable at all is part of the data).
 */
const free = [
  /^(model|output|save_dtype|on_bad_record|tensorboard|feature_cache)$/,
  /^(dtype|threads|token_budget|activation_checkpointing)$/,
  /^stages\.\d+\.(learning_rate|schedule|warmup_ratio|data\.\d+\.path)$/,
  /^validation\.(path|every_steps)$/,
  /^checkpoints\./,
];

/** Announced by what they have come to, which other things decide as well: the machine, libtorch. */
const announcedOtherwise = new Set(["dtype", "threads", "token_budget", "activation_checkpointing"]);

export function bindingOf(config: TrainConfig, data: Readonly<Record<string, string>>, base: BaseModel): Binding {
  return { config: Object.fromEntries(leavesOf(snakeCase(config))), data, base };
}

/**
 * Compares a run with a saved state.
 *
 * @returns what forbids going on, each as what follows "another", and what is only worth telling, each as a clause
 */
export function differences(then: Binding, now: Binding): { readonly forbidden: string[]; readonly allowed: string[] } {
  const forbidden: string[] = [];
  const allowed: string[] = [];
  for (const key of keysOf(then.config, now.config)) {
    const [before, after] = [then.config[key] ?? "not set", now.config[key] ?? "not set"];
    if (before === after) continue;
    if (!free.some((pattern) => pattern.test(key))) forbidden.push(`${key} (was ${before}, is ${after})`);
    else if (!announcedOtherwise.has(key))
      allowed.push(`${key} was ${before} when the state was saved and is ${after}`);
  }
  for (const place of keysOf(then.data, now.data)) {
    if (then.data[place] !== now.data[place]) forbidden.push(`data of ${place}`);
  }
  const [before, after] = [then.base.commit, now.base.commit];
  if (then.base.fingerprint !== now.base.fingerprint) {
    const advice = before === null ? "" : `; expected ${now.config.model?.replace(/^"|(@.*)?"$/g, "")}@${before}`;
    forbidden.push(`model that training began with${after === before ? "" : ` (it is now commit ${after}${advice})`}`);
  } else if (before !== after) {
    allowed.push(`the model's commit was ${before} when the state was saved and is ${after}, with the same weights`);
  }
  return { forbidden, allowed };
}

/** Files of a checkpoint folder, beside its weights, that decide what the model reads and how. */
const readFiles = [
  "config.json",
  "preprocessor_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.json",
  "chat_template.jinja",
];

/** @param drawn whether the model's weights are, so that the folder has none */
export function baseModelOf(model: RewardModel, folder: string, drawn: boolean): BaseModel {
  const hash = createHash("sha256").update(drawn ? "drawn" : model.fingerprint);
  for (const name of readFiles) {
    const file = path.join(folder, name);
    if (existsSync(file)) hash.update(`\n${name}\n`).update(readFileSync(file));
  }
  const [parent, commit = ""] = [path.basename(path.dirname(folder)), path.basename(folder)];
  // The cache of the hub names a model's folder by its commit (hub/cache.ts).
  const isSnapshot = parent === "snapshots" && /^[0-9a-f]{40}$/.test(commit);
  return { fingerprint: hash.digest("hex"), commit: isSnapshot ? commit : null };
}

const keysOf = (...records: readonly object[]): Set<string> => new Set(records.flatMap(Object.keys));

/** The values of plain data with the keys that lead to them; a list of plain values is one. */
function* leavesOf(value: unknown, at: readonly string[] = []): Generator<[key: string, json: string]> {
  const isBranch = Array.isArray(value)
    ? value.some((entry) => typeof entry === "object")
    : typeof value === "object" && value !== null;
  if (!isBranch) yield [at.join("."), JSON.stringify(value)];
  else for (const [key, entry] of Object.entries(value as object)) yield* leavesOf(entry, [...at, key]);
}

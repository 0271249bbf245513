/**
 * @file Reads a training configuration: YAML, `--set` over it, the schema's defaults, paths made absolute. Everything that
 * is wrong is told at once, each with the line where it stands.
 */

import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parse, parseDocument, stringify } from "yaml";
import type { z } from "zod";
import { departure, unknownKey } from "../../data/schema-errors.ts";
import { quote, VlRewardError } from "../../errors.ts";
import { type CamelCase, camelCase, snakeCase } from "../../files/camel-case.ts";
import { readRegularFile } from "../../files/regular-file.ts";
import { isSystemError } from "../../files/system-error.ts";
import { configKeys, isListAt, knownKeys } from "./config-keys.ts";
import { trainConfigSchema } from "./config-schema.ts";

/**
 * A checked configuration with its defaults. Paths are absolute; `model` is an absolute folder, a hub id or "tiny", and
 * `featureCache` an absolute folder, "memory" or "off". `dtype: "auto"` is resolved where the device is known. Keys
 * that are not there were left out in the file and have no default.
 */
export type TrainConfig = CamelCase<z.infer<typeof trainConfigSchema>>;
/** Has either `epochs` or `steps`. */
export type Stage = TrainConfig["stages"][number];
/** A file, or a generator; the validation set's has no weight. */
export type DataSource = Omit<Stage["data"][number], "weight">;
export type LoraConfig = NonNullable<TrainConfig["lora"]>;
export type OptimizerConfig = TrainConfig["optimizer"];

type Path = readonly string[];

/** One `--set` of the command line. */
interface Setting {
  readonly text: string;
  readonly path: Path;
  readonly value: unknown;
}

/** Something wrong in the file, or in a setting; without either it is the file as a whole. */
interface Problem {
  readonly line?: number | undefined;
  readonly setting?: Setting | undefined;
  readonly message: string;
}

/**
 * @param file YAML; relative paths in it and in `sets` start at its folder
 * @param sets `key.path=value` with places in lists as numbers (`stages.0.epochs=1`); the value is YAML, null takes the
 *   key away
 * @throws VlRewardError `input_unreadable`; `config_invalid` with every problem; `usage` for a set that is no key=value;
 *   `model_not_found` where the model is neither a folder nor looks like a hub id
 */
export function loadTrainConfig(file: string, sets: readonly string[] = []): TrainConfig {
  const settings = sets.map(readSetting);
  const lines = new LineCounter();
  // A key that is no string would be written as one; an error of the library's says where it stands.
  const document = parseDocument(readText(file), { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const lineAt = (offset: number) => lines.linePos(offset).line;
  const unreadable = [...document.errors, ...document.warnings].map(({ code, message, pos }) => ({
    line: lineAt(pos[0]),
    message: syntaxMessages[code] ?? message,
  }));
  if (unreadable.length > 0) throw invalidConfig(file, unreadable);
  let value = contentOf(document, file);
  const withoutPlace: Problem[] = [];
  for (const setting of settings) {
    const problems = misplaced(setting, value);
    withoutPlace.push(...problems);
    if (problems.length === 0) value = withValue(value, setting.path, setting.value);
  }
  const parsed = trainConfigSchema.safeParse(value);
  if (parsed.success && withoutPlace.length === 0) return resolvePaths(camelCase(parsed.data), file);

  const issues = (parsed.error?.issues ?? []).flatMap(eachKey);
  const problems = issues.slice(0, lookedUpProblems).map((issue): Problem => {
    const path = [...issue.path, ...(issue.code === "unrecognized_keys" ? issue.keys : [])].map(String);
    const setting = settings.findLast((set) => set.path.every((key, index) => key === path[index]));
    const offset = offsetOf(document, path);
    const line = offset === undefined ? undefined : lineAt(offset);
    const where = issue.path.length > 0 ? `${issue.path.join(".")}: ` : "";
    return { setting, line, message: where + sentence(value, issue) };
  });
  throw invalidConfig(file, [...withoutPlace, ...problems], issues.length - problems.length);
}

/** A configuration as a file that loads from anywhere as the same configuration, defaults written out. */
export function trainConfigText(config: TrainConfig): string {
  return stringify(snakeCase(config), { lineWidth: 0 });
}

/** The library's messages that say more about the library than about the file. */
const syntaxMessages: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: "this key stands twice in one object; keep one of them",
  MULTIPLE_DOCS: "a second document begins (---); expected one",
  RESOURCE_EXHAUSTION: "lists and objects lie too deep in each other",
  NON_STRING_KEY: "a key is a list or an object; expected a word",
};

/** Some thousand sources of data. */
const longestConfig = 2 ** 17;

function readText(file: string): string {
  try {
    return readRegularFile(file, longestConfig).toString("utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VlRewardError("input_unreadable", `The configuration ${file} cannot be read: ${reason}.`, { cause });
  }
}

/** The document as plain data; an alias and its anchor are one object. */
function contentOf(document: Document.Parsed, file: string): unknown {
  try {
    return document.toJS() ?? {};
  } catch (cause) {
    // An alias without its anchor, or so many that they would fill the memory.
    throw invalidConfig(file, [{ message: cause instanceof Error ? cause.message : String(cause) }]);
  }
}

function readSetting(text: string): Setting {
  const at = text.indexOf("=");
  const path = text.slice(0, Math.max(at, 0)).split(".");
  if (path.includes("")) {
    throw new VlRewardError("usage", `--set ${text}: expected key=value, such as optimizer.weight_decay=0.1.`);
  }
  try {
    return { text, path, value: parse(text.slice(at + 1), { stringKeys: true, prettyErrors: false }) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VlRewardError("usage", `--set ${text}: the value is not YAML: ${reason}.`, { cause });
  }
}

/** Whether a setting has a place in the data. @returns what keeps it from being written */
function misplaced(setting: Setting, root: unknown): Problem[] {
  let at = root;
  for (const [depth, key] of setting.path.entries()) {
    const message = misplacedKey(setting.path.slice(0, depth), key, at);
    if (message !== undefined) return [{ setting, message }];
    at = typeof at === "object" && at !== null && Object.hasOwn(at, key) ? Reflect.get(at, key) : undefined;
  }
  return [];
}

/** A copy with the value at the path; null takes an object's key away. Where the file has no object, nothing changes. */
function withValue(at: unknown, [key, ...rest]: Path, value: unknown): unknown {
  if (key === undefined) return value;
  if (Array.isArray(at)) return at.with(Number(key), withValue(at[Number(key)], rest, value));
  if (typeof at !== "object" || at === null) return at;
  const { [key]: before = {}, ...others } = at as Readonly<Record<string, unknown>>;
  const entry = withValue(before, rest, value);
  return entry === null && rest.length === 0 ? others : { ...others, [key]: entry };
}

/** What is wrong with a key of a setting, by the schema and by the length of the file's list. */
function misplacedKey(parent: Path, key: string, found: unknown): string | undefined {
  const where = parent.join(".");
  if (isListAt(parent)) {
    const length = Array.isArray(found) ? found.length : 0;
    if (/^\d+$/.test(key) && Number(key) < length) return undefined;
    const places = length === 0 ? "the list is empty" : `the list has the places 0 to ${length - 1}`;
    return `${where}: no place ${quote(key)}; ${places}`;
  }
  const known = knownKeys(parent);
  if (known.includes(key)) return undefined;
  if (known.length === 0) return `${where}: has no keys, and so no ${quote(key)}`;
  return (where && `${where}: `) + misspelt(key, known);
}

/** A misspelt key, or one that stands in the wrong place. */
function misspelt(key: string, known: readonly string[]): string {
  const elsewhere = configKeys().find(({ path }) => path.endsWith(`.${key}`));
  if (elsewhere !== undefined) return `unknown key ${quote(key)}; did you mean ${quote(elsewhere.path)}?`;
  return unknownKey(key, known);
}

function sentence(value: unknown, issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") return misspelt(issue.keys[0] ?? "", knownKeys(issue.path));
  return departure(value, issue, knownKeys);
}

/** An issue about several unknown keys as one for each. */
function eachKey(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  return issue.code === "unrecognized_keys" ? issue.keys.map((key) => ({ ...issue, keys: [key] })) : [issue];
}

/** Where in the text the key at `path` stands, or else the nearest thing around it; undefined for the whole file. */
function offsetOf(document: Document.Parsed, path: Path): number | undefined {
  let at: unknown = document.contents;
  let offset: number | undefined;
  for (const key of path) {
    if (isAlias(at)) at = at.resolve(document);
    if (isMap(at)) {
      const pair = at.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
      if (pair === undefined) return offset;
      offset = isScalar(pair.key) ? pair.key.range?.[0] : offset;
      at = pair.value;
    } else if (isSeq(at)) {
      at = at.items[Number(key)];
      if (typeof at === "object" && at !== null && "range" in at && Array.isArray(at.range)) offset = at.range[0];
    } else {
      return offset;
    }
  }
  return offset;
}

/** Problems that are shown, and those among which they are the first by their lines. */
const [shownProblems, lookedUpProblems] = [20, 200];

/** @param others problems beyond these */
function invalidConfig(file: string, problems: readonly Problem[], others = 0): VlRewardError {
  const inFile = problems
    .filter(({ setting }) => setting === undefined)
    .sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
    .map(({ line, message }) => (line === undefined ? message : `line ${line}: ${message}`));
  const inSettings = problems.flatMap(({ setting, message }) => (setting ? [`--set ${setting.text}: ${message}`] : []));
  const all = [...inFile, ...inSettings];
  const count = all.length + others;
  const more = count > shownProblems ? [`and ${count - shownProblems} more`] : [];
  const shown = [`${file} has ${count} problems:`, ...all.slice(0, shownProblems), ...more];
  const text = all.length === 1 ? `${file}: ${all[0]}` : shown.join("\n  ");
  return new VlRewardError("config_invalid", text);
}

function resolvePaths(config: TrainConfig, file: string): TrainConfig {
  const folder = dirname(resolve(file));
  const { validation, featureCache } = config;
  return {
    ...config,
    model: resolveModel(config.model, folder, file),
    output: resolve(folder, config.output),
    stages: config.stages.map((stage) => ({
      ...stage,
      data: stage.data.map((source) =>
        source.path === undefined ? source : { ...source, path: resolve(folder, source.path) },
      ),
    })),
    ...(validation?.path !== undefined && {
      validation: { ...validation, path: resolve(folder, validation.path) },
    }),
    featureCache: ["memory", "off"].includes(featureCache) ? featureCache : resolve(folder, featureCache),
  };
}

/** A folder relative to the file as an absolute one; a hub id and "tiny" as they are. */
function resolveModel(model: string, folder: string, file: string): string {
  if (model === "tiny") return model;
  const local = resolve(folder, model);
  if (isFolder(local)) return local;
  if (!/^\w[^/\\]*\/\w[^/\\]*$/.test(model)) {
    throw new VlRewardError(
      "model_not_found",
      `${file}: model: there is no folder ${local}; expected a folder (paths are relative to the file), "tiny", or a hub id such as org/name.`,
    );
  }
  // The working directory has it: without this it would silently be taken for the hub's, or the other way round.
  if (isFolder(model)) {
    throw new VlRewardError(
      "model_not_found",
      `${file}: model: there is a folder ${model} in the working directory, but paths are relative to the file: expected it at ${local}.`,
    );
  }
  return model;
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    if (isSystemError(error)) return false; // absent, or a name that no file can have
    throw error;
  }
}

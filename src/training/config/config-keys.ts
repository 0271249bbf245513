/**
 * @file The schema of the configuration as a list of keys, for messages and for the reference in `--help` and
 * docs/training.md. Places in lists are written N: `stages.N.epochs`, which `--set stages.0.epochs=1` sets for the first.
 */

import { z } from "zod";
import { trainConfigSchema } from "./config-schema.ts";

type Schema = z.core.$ZodType;

export interface ConfigKey {
  readonly path: string;
  /** In words: "a positive number"; empty for a key that only holds others. */
  readonly expects: string;
  /** As YAML has it on one line; "required", or empty where leaving the key out means something of its own. */
  readonly default: string;
  readonly description: string;
}

/** All keys, in the order of the schema; those of an object come after it. */
export function configKeys(schema: Schema = trainConfigSchema, path = ""): readonly ConfigKey[] {
  const inside = content(schema);
  if (inside instanceof z.ZodArray) return configKeys(inside.element, `${path}N.`);
  if (!(inside instanceof z.ZodObject)) return [];
  return Object.entries<Schema>(inside.shape).flatMap(([key, value]) => [
    {
      path: path + key,
      expects: content(value) instanceof z.ZodObject ? "" : expectation(value),
      default: defaultText(value),
      description: z.globalRegistry.get(value)?.description ?? "",
    },
    ...configKeys(value, `${path}${key}.`),
  ]);
}

/** The names of the keys that the object at `path` may have; none where no object belongs. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  const schema = schemaAt(path);
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** Whether a list belongs at `path`. */
export function isListAt(path: readonly PropertyKey[]): boolean {
  return schemaAt(path) instanceof z.ZodArray;
}

function schemaAt(path: readonly PropertyKey[]): Schema | undefined {
  let at: Schema | undefined = trainConfigSchema;
  for (const key of path) {
    const inside: Schema | undefined = at && content(at);
    if (inside instanceof z.ZodArray) at = inside.element;
    else at = inside instanceof z.ZodObject ? inside.shape[String(key)] : undefined;
  }
  return at && content(at);
}

/** Without defaults and optionality around it. */
function content(schema: Schema): Schema {
  const wrapped =
    schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodExactOptional;
  return wrapped ? content(schema.unwrap()) : schema;
}

/** What a schema says it expects is the message with which it refuses what no YAML file can hold. */
function expectation(schema: Schema): string {
  return z.safeParse(schema, Symbol()).error?.issues[0]?.message ?? "";
}

function defaultText(schema: Schema): string {
  if (schema instanceof z.ZodExactOptional || schema instanceof z.ZodPrefault) return "";
  if (!(schema instanceof z.ZodDefault)) return "required";
  const value: unknown = schema.def.defaultValue;
  return Array.isArray(value) ? `[${value.join(", ")}]` : String(value);
}

/**
 * @file What the tensors of a checkpoint are, by their names: parameters of the backbone, whatever wrote its own name in front
 * of them, a reward head in one of its many spellings, or what nobody reads.
 */
import type { StoredTensor } from "../checkpoint/checkpoint.ts";
import { VlRewardError } from "../errors.ts";
import { listed } from "../files/folder-contents.ts";
import type { Family } from "./family.ts";

/** Tensors by what they are. */
export interface NamedTensors {
  /** By the names of a RewardModel's parameters; what is none of them by its stored name. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The name that each of these is stored under. */
  readonly storedNames: ReadonlyMap<string, string>;
  /** The language model's own head. */
  readonly languageHead: StoredTensor | undefined;
  readonly notes: readonly string[];
}

/** Names that compilation and distributed training put anywhere between the others. */
const wrappers = new Set([
  "_orig_mod",
  "_fsdp_wrapped_module",
  "_checkpoint_wrapped_module",
  "_forward_module",
  "module",
]);

/** Names that classes of other programs put in front. */
const outer = new Set(
  (
    "base_model model pretrained_model language_model reward_model backbone transformer encoder policy actor critic vlm llm " +
    "thinker"
  ).split(" "),
);

/** Buffers that other versions of the model's classes have saved. */
const buffers = new Set(
  "_extra_state inv_freq original_inv_freq position_ids cos_cached sin_cached cos_sin_cache".split(" "),
);

const withoutWrappers = (name: string): string =>
  name
    .split(".")
    .filter((part) => !wrappers.has(part))
    .join(".");

/** Whether a stored tensor is one that no reward needs. */
export function isUnread(stored: string): boolean {
  return /(^|\.)lm_head\.\w+$/.test(stored) || buffers.has(stored.split(".").at(-1) ?? "");
}

/** What heads are called; each may have "summary" behind it. */
const headWords = "v_head value_head score rm_head reward_head classifier summary regression_head score_head".split(
  " ",
);
/** This program's head of two layers. */
const deepHeadName = /^(?:(.*)\.)?v_head\.summary\.([02]\.(?:weight|bias))$/;

/** -> the parameter of a head that a stored tensor is, if it is one */
function headParameter(name: string, { file }: StoredTensor): string | undefined {
  if (/[/\\]value_head\.\w+$/.test(file) && /^(weight|bias)$/.test(name)) return `head.${name}`;
  const [, deepPrefix = "", layer] = deepHeadName.exec(name) ?? [];
  if (layer !== undefined && isOuter(deepPrefix)) return `head.${layer}`;
  const parts = name.split(".");
  const last = parts.pop();
  const [word = "", before = ""] = parts.toReversed();
  parts.splice(word === "summary" && headWords.includes(before) ? -2 : -1);
  const isHead = (last === "weight" || last === "bias") && headWords.includes(word) && isOuter(parts.join("."));
  return isHead ? `head.${last}` : undefined;
}

const isOuter = (prefix: string): boolean => prefix === "" || prefix.split(".").every((part) => outer.has(part));

/** Whether a tensor is likely to be a reward head, though not one that is read: by its shape, or its name. */
export const looksLikeHead = (name: string, { shape }: StoredTensor, hidden: number): boolean =>
  (shape.at(-1) === hidden && shape.length <= 2 && (shape.length < 2 || (shape[0] ?? 0) <= 16)) ||
  name.split(".").some((part) => headWords.includes(part));

/**
 * Throws `checkpoint_unsupported` where two tensors are the same parameter.
 *
 * @param expected the names of the backbone's parameters
 */
export function nameTensors(
  stored: ReadonlyMap<string, StoredTensor>,
  { parameterName }: Pick<Family, "parameterName">,
  expected: ReadonlySet<string>,
): NamedTensors {
  const found: { name: string; parameter: string; form: string }[] = [];
  let languageHead: StoredTensor | undefined;
  for (const [name, tensor] of stored) {
    const clean = withoutWrappers(name);
    if (isUnread(clean)) {
      if (clean.endsWith("lm_head.weight")) languageHead ??= tensor;
      continue;
    }
    const head = headParameter(clean, tensor);
    const { parameter, form } =
      head === undefined ? parameterOf(clean, parameterName, expected) : { parameter: head, form: "" };
    found.push({ name, parameter: parameter ?? name, form });
  }
  const forms = acceptedForms(found, expected);
  const tensors = new Map<string, StoredTensor>();
  const storedNames = new Map<string, string>();
  for (const { name, parameter, form } of found) {
    const key = forms.has(form) ? parameter : name;
    const tensor = stored.get(name);
    const other = storedNames.get(key);
    if (other !== undefined) {
      throw new VlRewardError(
        "checkpoint_unsupported",
        `The checkpoint has the same tensor twice, as ${other} (${stored.get(other)?.file}) and as ${name} ` +
          `(${tensor?.file}). Remove the one that is not meant.`,
      );
    }
    storedNames.set(key, name);
    if (tensor) tensors.set(key, tensor);
  }
  const taken = [...forms].filter((form) => form !== "" && form !== bare);
  const notes =
    taken.length > 0 ? [`Names of tensors begin with ${listed(taken.map(quoted), 3)}, which was left out.`] : [];
  return { tensors, storedNames, languageHead, notes };
}

const quoted = (form: string): string => `"${form}."`;

/** The form of names that a decoder without its wrapper has: "layers.0" in place of "model.layers.0". */
const bare = "(bare)";

/** -> the parameter, and what stands before its name */
function parameterOf(
  name: string,
  parameterName: (stored: string) => string,
  expected: ReadonlySet<string>,
): { parameter: string | undefined; form: string } {
  const parts = name.split(".");
  for (let from = 0; from < parts.length - 1; from++) {
    const parameter = parameterName(parts.slice(from).join("."));
    if (expected.has(parameter)) return { parameter, form: parts.slice(0, from).join(".") };
  }
  const parameter = parameterName(`model.${name}`);
  return expected.has(parameter) ? { parameter, form: bare } : { parameter: undefined, form: "" };
}

/** Those that are known, or that all of the backbone's tensors share. */
function acceptedForms(
  found: readonly { parameter: string; form: string }[],
  expected: ReadonlySet<string>,
): Set<string> {
  const counts = new Map<string, number>();
  for (const { parameter, form } of found) {
    if (expected.has(parameter)) counts.set(form, (counts.get(form) ?? 0) + 1);
  }
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const accepted = [...counts].filter(([form, count]) => form === bare || isOuter(form) || count === all);
  return new Set(["", ...accepted.map(([form]) => form)]);
}

/**
 * @file The tensors of a checkpoint folder by the names of a reward model's parameters: of a model, or of an adapter's base
 * with the adapter's own in their places and its updates beside them.
 */

import { assertPresent, listFolder, type StoredTensor } from "../checkpoint/checkpoint.ts";
import { VlRewardError } from "../errors.ts";
import { listed, whatLiesIn } from "../files/folder-contents.ts";
import { type Adapter, readAdapter } from "./adapter.ts";
import { familyOf } from "./families.ts";
import type { Family } from "./family.ts";
import { isUnread, looksLikeHead, nameTensors } from "./stored-names.ts";

export interface CheckpointTensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Low-rank updates by the parameters that they change; there are none but of an adapter. */
  readonly updates: Adapter["updates"];
  readonly languageHead: StoredTensor | undefined;
  /** What is neither a parameter of the backbone nor of a head, by its stored name. */
  readonly strange: ReadonlyMap<string, StoredTensor>;
  /** What a person should know of how the folder was read. */
  readonly notes: readonly string[];
}

/**
 * Throws the codes of a folder that cannot be read.
 *
 * @param base the folder of the model that `folder` is an adapter of
 */
export function checkpointTensors(folder: string, base?: string, family = familyOf(folder, base)): CheckpointTensors {
  const expected = new Set(Array.from(family.createBackbone().namedParameters(), ([name]) => name));
  const listing = listFolder(base ?? folder);
  assertPresent(listing, base ?? folder, (name) => !isUnread(name));
  const named = nameTensors(listing.tensors, family, expected);
  const tensors = withHead(named.tensors, family.shape.decoder.hidden);
  const notes = [...listing.notes, ...named.notes];
  const { languageHead } = named;
  const strange = new Map([...tensors].filter(([name]) => !expected.has(name) && !name.startsWith("head.")));
  if (languageHead) strange.set("lm_head.weight", languageHead);
  if (base === undefined) return { tensors, updates: new Map(), languageHead, strange, notes };
  const adapter = readAdapter(folder, family, expected);
  const own = withHead(adapter.tensors, family.shape.decoder.hidden);
  const kept = [...tensors].filter(([name]) => !(name.startsWith("head.") && hasHead(own)));
  const lacking = [...adapter.updates.keys()].filter((name) => !tensors.has(name));
  if (lacking.length > 0) {
    throw new VlRewardError("checkpoint_mismatch", `${folder} changes ${listed(lacking, 4)}, which ${base} has not.`);
  }
  return {
    tensors: new Map([...kept, ...own]),
    updates: adapter.updates,
    languageHead,
    strange,
    notes: [...notes, `${folder} is an adapter, merged into ${base}.`],
  };
}

/** -> the matrix that gives the reward */
export const lastOfHead = (tensors: ReadonlyMap<string, StoredTensor>): StoredTensor | undefined =>
  tensors.get("head.weight") ?? tensors.get("head.2.weight");

const hasHead = (tensors: ReadonlyMap<string, StoredTensor>): boolean =>
  [...tensors.keys()].some((name) => name.startsWith("head."));

/** A matrix that is stored as a vector, and a bias as a number, in the shapes that a head's parameters have. */
function withHead(tensors: ReadonlyMap<string, StoredTensor>, hidden: number): Map<string, StoredTensor> {
  const shaped = new Map(tensors);
  for (const [name, from, to] of [
    ["head.weight", [hidden], [1, hidden]],
    ["head.bias", [], [1]],
  ] as const) {
    const tensor = tensors.get(name);
    if (tensor?.shape.join() === from.join()) shaped.set(name, { ...tensor, shape: to });
  }
  return shaped;
}

/**
 * Throws `checkpoint_unsupported` for a checkpoint without a head that is read, naming what looks like one, and for a head that
 * gives more than one number.
 */
export function assertHead({ tensors, strange }: CheckpointTensors, folder: string, { shape }: Family): void {
  const { hidden } = shape.decoder;
  const head = lastOfHead(tensors);
  const [labels] = head?.shape ?? [];
  if (head && head.shape.length === 2 && labels !== 1) {
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} has a head with ${labels} labels; a reward model has one.`,
    );
  }
  if (head) return;
  const likely = [...strange].filter(([name, tensor]) => looksLikeHead(name, tensor, hidden));
  const expected = `v_head.summary.weight (in value_head.safetensors) or score.weight, [1, ${hidden}]`;
  if (likely.length > 0) {
    const found = listed(
      likely.map(([name, one]) => `${name} [${one.shape.join(", ")}]`),
      4,
    );
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} has no reward head that is read. It holds ${found}, which may be one; expected ${expected}. If it is a linear ` +
        "layer on the last hidden state, give it one of these names.",
    );
  }
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${folder} has no reward head: expected ${expected}. It is a language model, not a reward model; train a head on it ` +
      `first. ${whatLiesIn(folder)}`,
  );
}

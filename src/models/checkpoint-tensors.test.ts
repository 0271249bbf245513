/**
 * @file Folders as other programs write them: the embedded model's tensors under other names, in other files, with others
 * beside them. Each is the same model, or refused in one short sentence that says what lies there.
 */
import { afterAll, describe, expect, test } from "vitest";
import { type Content, Folders, renamed, tiny, tinyHead, tinyWeights } from "../../test/folders.ts";
import type { FileEntry } from "../../test/safetensors-file.ts";
import { placement } from "../nn/index.ts";
import { RewardModel } from "./reward-model.ts";

const folders = new Folders();
afterAll(() => folders.clear());

function fingerprint(folder: string): string {
  const model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
  try {
    return model.fingerprint;
  } finally {
    model.dispose();
  }
}

const [weight, bias] = ["weight", "bias"].map((part) => tinyHead[`v_head.summary.${part}`]) as [FileEntry, FileEntry];
const head = (name: string, weightShape = [1, 128], biasShape = [1]) => ({
  [`${name}.weight`]: { ...weight, shape: weightShape },
  [`${name}.bias`]: { ...bias, shape: biasShape },
});
const empty = (shape: number[], dtype = "F32"): FileEntry => ({
  dtype,
  shape,
  bytes: new Uint8Array(shape.reduce((product, length) => product * length, dtype === "F32" ? 4 : 1)),
});
const first = Object.fromEntries(Object.entries(tinyWeights).slice(0, 60));
const second = Object.fromEntries(Object.entries(tinyWeights).slice(60));
const index = (entries: Readonly<Record<string, string>>): Content => ({ json: { metadata: {}, weight_map: entries } });
const naming = (file: string, entries: object): Record<string, string> =>
  Object.fromEntries(Object.keys(entries).map((name) => [name, file]));
const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
const shards = { [one]: { tensors: first }, [two]: { tensors: second } };
const valueHead = { "value_head.safetensors": { tensors: tinyHead } };
const whole = (tensors: Readonly<Record<string, FileEntry>>) => ({ "model.safetensors": { tensors } });
const prefixed = (prefix: string, entries = tinyWeights) => renamed(entries, (name) => prefix + name);

describe("is the same model", () => {
  const same = fingerprint(tiny);

  test.each<[string, Record<string, Content>]>([
    ...[
      "score",
      "value_head",
      "rm_head",
      "reward_head",
      "classifier",
      "model.score",
      "base_model.model.v_head.summary",
    ].map((name): [string, Record<string, Content>] => [`with ${name}.*`, whole({ ...tinyWeights, ...head(name) })]),
    [
      "with summary.* in a file of its own",
      { ...whole(tinyWeights), "value_head.safetensors": { tensors: head("summary") } },
    ],
    [
      "with weight and bias alone in a file of its own",
      { ...whole(tinyWeights), "value_head.safetensors": { tensors: { weight, bias } } },
    ],
    ["with a head that is a vector", whole({ ...tinyWeights, ...head("score", [128], []) })],
    ...[
      "module.",
      "_orig_mod.",
      "base_model.model.",
      "pretrained_model.",
      "model.",
      "module._orig_mod.",
      "whatever.of_mine.",
    ].map((prefix): [string, Record<string, Content>] => [
      `behind ${prefix}`,
      { ...whole(prefixed(prefix)), ...valueHead },
    ]),
    ["with its head behind a prefix too", whole(prefixed("module.", { ...tinyWeights, ...tinyHead }))],
    [
      "with names as vLLM has them",
      { ...whole(renamed(tinyWeights, (name) => name.replace(/^model\./, "language_model.model."))), ...valueHead },
    ],
    [
      "with FSDP's names in the middle",
      {
        ...whole(
          renamed(tinyWeights, (name) =>
            name.replace(/layers\.(\d+)\./, "layers.$1._fsdp_wrapped_module._checkpoint_wrapped_module."),
          ),
        ),
        ...valueHead,
      },
    ],
    [
      "with a decoder that was saved without its wrapper",
      { ...whole(renamed(tinyWeights, (name) => name.replace(/^model\./, ""))), ...valueHead },
    ],
    [
      "with buffers and a language head that nobody reads",
      {
        ...whole({
          ...tinyWeights,
          "model.layers.0.self_attn._extra_state": empty([0], "U8"),
          "model.rotary_emb.inv_freq": empty([16]),
          "visual.rotary_pos_emb.inv_freq": empty([8]),
          "module.lm_head.weight": empty([4, 128]),
        }),
        ...valueHead,
      },
    ],
    [
      "with an index that names a language head that is not there",
      {
        ...shards,
        ...valueHead,
        "model.safetensors.index.json": index({ ...naming(one, first), ...naming(two, second), "lm_head.weight": two }),
      },
    ],
    [
      "beside a stale index",
      {
        ...whole(tinyWeights),
        ...valueHead,
        "model.safetensors.index.json": index(naming("model-1.safetensors", tinyWeights)),
      },
    ],
  ])("%s", (_, files) => {
    expect(fingerprint(folders.model(files))).toBe(same);
  });

  test("of a whole file and shards, the whole file is read, and that is said", () => {
    const other = { ...tinyWeights, "model.norm.weight": { ...weight, dtype: "F32", shape: [128] } };
    const folder = folders.model({
      ...whole(other),
      ...shards,
      ...valueHead,
      "model.safetensors.index.json": index({ ...naming(one, first), ...naming(two, second) }),
    });
    expect(fingerprint(folder)).toBe(fingerprint(folders.model({ ...whole(other), ...valueHead })));
    const model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
    model.dispose();
    expect(model.notes).toEqual([
      expect.stringMatching(/has model\.safetensors, model\.safetensors\.index\.json: .* the first/),
    ]);
  });
});

describe("is refused, in one short sentence:", () => {
  test.each<[string, Record<string, Content>, string, RegExp]>([
    [
      "a head under a name of its own",
      whole({ ...tinyWeights, "judge.weight": weight }),
      "checkpoint_unsupported",
      /no reward head that is read\. It holds judge\.weight \[1, 128\], which may be one; expected v_head\.summary\.weight/,
    ],
    [
      "a head of two layers, of which the activation is not known",
      whole({ ...tinyWeights, "score.0.weight": empty([8, 128]), "score.2.weight": empty([1, 8]) }),
      "checkpoint_unsupported",
      /holds score\.0\.weight \[8, 128\], score\.2\.weight \[1, 8\]/,
    ],
    [
      "two heads",
      { ...whole({ ...tinyWeights, ...head("score") }), ...valueHead },
      "checkpoint_unsupported",
      /score\.\w+ .* v_head\./,
    ],
    [
      "a copy of the weights beside them",
      { ...whole({ ...tinyWeights, ...prefixed("ema.", first) }), ...valueHead },
      "checkpoint_mismatch",
      /unexpected 60: ema\.\S+, \S+, \S+, \S+ and 56 more/,
    ],
    [
      "an unmerged LoRA within the weights",
      {
        ...whole(
          renamed(tinyWeights, (name) =>
            name.replace("layers.0.self_attn.q_proj.", "layers.0.self_attn.q_proj.base_layer."),
          ),
        ),
        ...valueHead,
      },
      "checkpoint_mismatch",
      /missing 2: model\.layers\.0\.self_attn\.q_proj\.weight, .*unexpected 2: /,
    ],
    [
      "shards without an index",
      { ...shards, ...valueHead },
      "checkpoint_damaged",
      /but 2 safetensors files .*Fetch the index/,
    ],
    [
      "weights under another name",
      { "weights.safetensors": { tensors: tinyWeights }, ...valueHead },
      "checkpoint_damaged",
      /but weights\.safetensors\. .*name it model\.safetensors/,
    ],
    [
      "a pointer of git-lfs",
      {
        "model.safetensors": `version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 4921008\n`,
      },
      "checkpoint_damaged",
      /pointer of git-lfs .*git lfs pull/,
    ],
    [
      "an index that names a shard that is not there",
      {
        [one]: { tensors: first },
        ...valueHead,
        "model.safetensors.index.json": index({ ...naming(one, first), ...naming(two, second) }),
      },
      "checkpoint_damaged",
      /lacks 1 of 2 shards: model-00002-of-00002\.safetensors/,
    ],
    ["no weights", {}, "checkpoint_damaged", /It holds chat_template\.json, config\.json, .*tokenizer_config\.json\./],
    [
      "no head",
      whole(tinyWeights),
      "checkpoint_unsupported",
      /no reward head: .* It holds chat_template\.json, .*model\.safetensors/,
    ],
  ])("%s", (_, files, code, message) => {
    const folder = folders.model(files);
    const failing = () => RewardModel.load(folder, placement("cpu", "float32", "mapped"));
    expect(failing).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
    expect(failing).toThrow(expect.objectContaining({ message: expect.stringMatching(/^.{1,900}$/s) }));
  });
});

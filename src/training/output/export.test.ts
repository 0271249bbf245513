/**
 * @file Exports against the bytes of the checkpoints they are made from. That transformers 4.51.3 reads them was seen with
 * ../shared/oracle/score.py; the folder of transformers 5 is one that it has written.
 */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { tensorSource } from "../../../test/tensor-source.ts";
import { listTensors } from "../../checkpoint/checkpoint.ts";
import { storedSource, type TensorSource, writeModelFiles } from "../../checkpoint/save.ts";
import { loadPreprocessorConfig } from "../../models/qwen2_5_vl/preprocessor-config.ts";
import { ChatTemplate } from "../../tokenizer/chat-template.ts";
import { type Dtype, keep, liveTensors, mapFile, scope, type Tensor, tensorFrom, toDtype } from "../../torch/index.ts";
import { type ExportTask, exportCheckpoint } from "./export.ts";

const root = path.join(import.meta.dirname, "../../..");
const tiny = path.join(root, "test/fixtures/untrained"); // tied, value_head.safetensors
const plain = path.join(root, "test/fixtures/parity/plain");
const grouped = path.join(root, "test/fixtures/parity/grouped"); // shards, score.weight, newer names

let folder: string;
let target: string;
let before: ReturnType<typeof liveTensors>;
beforeEach(() => {
  before = liveTensors();
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-export-"));
  target = path.join(folder, "out");
});
afterEach(() => {
  expect(liveTensors()).toEqual(before);
  rmSync(folder, { recursive: true });
});

const run = (base: string, more: Partial<ExportTask> = {}): Promise<unknown> =>
  exportCheckpoint({ base, target, trained: [], dtype: "bfloat16", pixelLimits: {}, ...more });

const json = (file: string): Record<string, unknown> => JSON.parse(readFileSync(file, "utf8")) as never;

/** Stands for the values of a tensor: a hundred times as fast to compare. */
const digest = (values: Float32Array): string =>
  createHash("sha256")
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest("hex");

/** The values of every tensor of a folder's model files, in float32. */
function valuesOf(from: string): Map<string, string> {
  return scope(
    () =>
      new Map(
        [...listTensors(from)].map(([name, place]) => {
          const [tensor] = mapFile(place.file, [place]);
          if (!tensor) throw new Error(`${name} is absent`);
          return [name, digest(toDtype(tensor, "float32").toFloat32Array())];
        }),
      ),
  );
}

const dtypesOf = (from: string): Set<Dtype> =>
  new Set([...listTensors(from)].filter(([name]) => !name.startsWith("v_head.")).map(([, { dtype }]) => dtype));

test.each<Dtype>(["bfloat16", "float32"])(
  "untrained, as %s: the base's values under the published names",
  async (dtype) => {
    for (const base of [tiny, plain]) {
      await run(base, { dtype });
      const expected = valuesOf(base);
      expect(valuesOf(target)).toEqual(expected);
      expect(dtypesOf(target)).toEqual(new Set([dtype]));
      expect(json(path.join(target, "config.json"))).toMatchObject({ torch_dtype: dtype });
    }
  },
);

test("newer names, shards and score.weight become the published form, with a bias of 0", async () => {
  await run(grouped);
  const expected = new Map(
    [...valuesOf(grouped)].map(([name, values]) => [
      name
        .replace(/^model\.language_model\./, "model.")
        .replace(/^model\.visual\./, "visual.")
        .replace(/^score\.weight$/, "v_head.summary.weight"),
      values,
    ]),
  );
  expected.set("v_head.summary.bias", digest(Float32Array.of(0)));
  expect(valuesOf(target)).toEqual(expected);
  expect(readdirSync(target)).toContain("value_head.safetensors");
  expect(listTensors(target).get("v_head.summary.weight")).toMatchObject({ dtype: "float32" });
});

test("what was trained takes the place of the base's, converted; the head stays in float32", async () => {
  const hidden = 64;
  const made: Tensor[] = [];
  const trained = (name: string, values: Float32Array, shape: number[]): TensorSource => {
    const tensor = keep(tensorFrom(values, shape));
    made.push(tensor);
    return tensorSource(name, tensor);
  };
  const odd = Float32Array.from({ length: hidden }, (_, i) => 1 + i / 1024); // not exact in bfloat16
  await run(tiny, {
    trained: [
      trained("model.norm.weight", odd, [hidden]),
      trained("head.weight", odd, [1, hidden]),
      trained("head.bias", Float32Array.of(0.1), [1]),
    ],
  });
  for (const tensor of made) tensor.dispose();
  const expected = valuesOf(tiny);
  const found = valuesOf(target);
  expect(found.get("v_head.summary.weight")).toEqual(digest(odd));
  expect(found.get("v_head.summary.bias")).toEqual(digest(Float32Array.of(0.1)));
  // Between 1 and 2 bfloat16 holds 128ths; ties go to the even ones.
  const nearest = odd.map((value) => {
    const place = (value - 1) * 128;
    const below = Math.floor(place);
    const up = place - below > 0.5 || (place - below === 0.5 && below % 2 === 1);
    return 1 + (below + Number(up)) / 128;
  });
  expect(found.get("model.norm.weight")).toEqual(digest(nearest));
  for (const name of ["model.norm.weight", "v_head.summary.weight", "v_head.summary.bias"]) {
    expected.delete(name);
    found.delete(name);
  }
  expect(found).toEqual(expected);
});

test("trained tensors are read in the order of their names, whatever order the base has: processes gather them together", async () => {
  const read: string[] = [];
  const names = [
    "visual.merger.ln_q.weight",
    "model.norm.weight",
    "head.weight",
    "model.embed_tokens.weight",
    "head.bias",
  ];
  const places = listTensors(tiny);
  const trained = names.map((name): TensorSource => {
    const place = places.get(name.replace("head.", "v_head.summary."));
    if (!place) throw new Error(name);
    const source = storedSource(name, place);
    return {
      ...source,
      read: () => {
        read.push(name);
        return source.read();
      },
    };
  });
  await run(tiny, { trained });
  expect(read).toEqual([...names].sort());
  expect(valuesOf(target)).toEqual(valuesOf(tiny));
});

describe("a base without weights", () => {
  /** test/fixtures/untrained as a configuration alone. */
  function bareBase(): string {
    const base = path.join(folder, "bare");
    cpSync(tiny, base, { recursive: true, filter: (file) => !file.endsWith(".safetensors") });
    return base;
  }
  const everyTensor = (): TensorSource[] =>
    [...listTensors(tiny)].map(([name, place]) => storedSource(name.replace("v_head.summary.", "head."), place));

  test("becomes a whole checkpoint of what was trained", async () => {
    await run(bareBase(), { trained: everyTensor() });
    expect(valuesOf(target)).toEqual(valuesOf(tiny));
    expect(json(path.join(target, "config.json")).tie_word_embeddings).toBe(true);
  });

  test("is refused where training has not all of it, or something else", async () => {
    const lacking = everyTensor().filter(({ name }) => name !== "model.norm.weight");
    const refused = (message: string) =>
      expect.objectContaining({ code: "checkpoint_mismatch", message: expect.stringContaining(message) });
    await expect(run(bareBase(), { trained: lacking })).rejects.toEqual(refused("training has no model.norm.weight"));
    const more = { ...(everyTensor()[0] as TensorSource), name: "model.other.weight" };
    await expect(run(bareBase(), { trained: [...everyTensor(), more] })).rejects.toEqual(refused("model.other.weight"));
    expect(existsSync(path.join(target, "config.json"))).toBe(false);
  });
});

describe("the language model's head", () => {
  const head = new Float32Array(1024 * 64).fill(0.5);
  /** test/fixtures/untrained with lm_head.weight in its file. */
  function baseWithHead(tied: boolean): string {
    const base = path.join(folder, "base");
    cpSync(tiny, base, { recursive: true });
    const tensor = keep(tensorFrom(head, [1024, 64]));
    const sources = [...listTensors(tiny)].filter(([name]) => !name.startsWith("v_head."));
    writeModelFiles(base, [
      ...sources.map(([name, place]) => storedSource(name, place)),
      tensorSource("lm_head.weight", tensor),
    ]);
    tensor.dispose();
    const config = json(path.join(tiny, "config.json"));
    writeFileSync(path.join(base, "config.json"), JSON.stringify({ ...config, tie_word_embeddings: tied }));
    return base;
  }

  test("is copied where it is the checkpoint's own", async () => {
    await run(baseWithHead(false));
    expect(valuesOf(target).get("lm_head.weight")).toEqual(digest(head));
    expect(json(path.join(target, "config.json")).tie_word_embeddings).toBe(false);
  });

  test("is left out where embeddings are tied: it would be read in place of trained ones", async () => {
    await run(baseWithHead(true));
    expect(listTensors(target).has("lm_head.weight")).toBe(false);
    expect(json(path.join(target, "config.json")).tie_word_embeddings).toBe(true);
  });
});

describe("files beside the weights", () => {
  test("config.json is the base's, trained; tokenizer and chat template are its bytes", async () => {
    await run(tiny);
    const { untrained, ...config } = json(path.join(tiny, "config.json"));
    expect(untrained).toBe(true);
    expect(json(path.join(target, "config.json"))).toEqual(config);
    for (const name of ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "chat_template.json"]) {
      expect(readFileSync(path.join(target, name)).equals(readFileSync(path.join(tiny, name))), name).toBe(true);
    }
  });

  test("the pixel limits of training, else the base's", async () => {
    await run(tiny, { pixelLimits: { maxPixels: 50_176 } });
    const expected = { ...json(path.join(tiny, "preprocessor_config.json")), max_pixels: 50_176 };
    expect(json(path.join(target, "preprocessor_config.json"))).toEqual(expected);
    expect(loadPreprocessorConfig(target)).toMatchObject({ minPixels: 3136, maxPixels: 50_176 });
  });

  test("a chat template that only the tokenizer has is given to the processor", async () => {
    const base = path.join(folder, "base");
    cpSync(tiny, base, { recursive: true });
    const { chat_template } = json(path.join(tiny, "chat_template.json"));
    rmSync(path.join(base, "chat_template.json"));
    const config = { ...json(path.join(tiny, "tokenizer_config.json")), chat_template };
    writeFileSync(path.join(base, "tokenizer_config.json"), JSON.stringify(config));
    await run(base);
    expect(json(path.join(target, "chat_template.json"))).toEqual({ chat_template });
  });

  test("a folder of transformers 5 becomes the one that it was made from", async () => {
    const base = path.join(folder, "base");
    cpSync(path.join(root, "test/fixtures/transformers5"), base, { recursive: true });
    copyFileSync(path.join(tiny, "tokenizer.json"), path.join(base, "tokenizer.json"));
    copyFileSync(path.join(tiny, "value_head.safetensors"), path.join(base, "value_head.safetensors"));
    const newer = (name: string): string =>
      name.startsWith("visual.") ? `model.${name}` : name.replace(/^model\./, "model.language_model.");
    const sources = [...listTensors(tiny)].filter(([name]) => !name.startsWith("v_head."));
    writeModelFiles(
      base,
      sources.map(([name, place]) => storedSource(newer(name), place)),
    );
    await run(base, { pixelLimits: { minPixels: 784 } });

    expect(valuesOf(target)).toEqual(valuesOf(tiny));
    const original = json(path.join(tiny, "config.json"));
    const config = json(path.join(target, "config.json"));
    for (const gone of ["untrained", "transformers_version", "sliding_window"]) delete original[gone];
    expect(config).toMatchObject(original);
    for (const key of ["text_config", "dtype", "rope_parameters", "untrained"]) expect(config).not.toHaveProperty(key);
    const preprocessor = json(path.join(tiny, "preprocessor_config.json"));
    expect(json(path.join(target, "preprocessor_config.json"))).toMatchObject({ ...preprocessor, min_pixels: 784 });
    for (const name of ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"]) {
      expect(readFileSync(path.join(target, name), "utf8"), name).toBe(readFileSync(path.join(tiny, name), "utf8"));
    }
    expect(existsSync(path.join(target, "processor_config.json"))).toBe(false);
    await expect(ChatTemplate.load(target)).resolves.toBeDefined();
  });
});

describe("the folder", () => {
  test("keeps what is not the export's, and loses what was a former export's", async () => {
    mkdirSync(target);
    for (const name of [
      ...["metrics.jsonl", "README.md", "model-of-mine.safetensors"], // others'
      ...["model-00001-of-00002.safetensors", "model.safetensors.index.json", "chat_template.jinja", "config.json"],
    ]) {
      writeFileSync(path.join(target, name), name);
    }
    await run(tiny);
    const expected = ["metrics.jsonl", "README.md", "model-of-mine.safetensors", "config.json", "merges.txt"];
    expected.push("model.safetensors", "value_head.safetensors", "vocab.json", "tokenizer.json");
    expected.push("tokenizer_config.json", "chat_template.json", "preprocessor_config.json");
    expect(readdirSync(target).sort()).toEqual(expected.sort());
    expect(valuesOf(target)).toEqual(valuesOf(tiny));
  });

  test.skipIf(!existsSync("/dev/full"))("a full disk: a former export stands (needs /dev/full)", async () => {
    await run(tiny);
    const former = readdirSync(target).map((name) => [name, readFileSync(path.join(target, name))]);
    const tensor = keep(tensorFrom(new Float32Array(64), [1, 64]));
    const fills: TensorSource = {
      ...tensorSource("head.weight", tensor),
      read: () => {
        symlinkSync("/dev/full", path.join(target, "export.incomplete", "model.safetensors.incomplete"));
        return tensor;
      },
    };
    await expect(run(tiny, { trained: [fills] })).rejects.toMatchObject({
      code: "output_unwritable",
      message: expect.stringMatching(/model\.safetensors cannot be written: the disk is full/),
    });
    tensor.dispose();
    expect(readdirSync(target).map((name) => [name, readFileSync(path.join(target, name))])).toEqual(former);
  });

  test("is not the base's", async () => {
    const link = path.join(folder, "link");
    symlinkSync(tiny, link);
    await expect(run(tiny, { target: link })).rejects.toMatchObject({ code: "usage" });
  });

  test.each<[what: string, name: string, shape: number[], found: RegExp]>([
    ["a tensor that the base has not", "model.layers.9.norm", [2], /"model\.layers\.9\.norm" of shape \[none\].*\[2\]/],
    ["another shape", "model.norm.weight", [2], /of shape \[64\], training has it of \[2\]/],
  ])("%s is refused before anything is written", async (_, name, shape, found) => {
    const tensor = keep(tensorFrom(new Float32Array(2), shape));
    await expect(run(tiny, { trained: [tensorSource(name, tensor)] })).rejects.toMatchObject({
      code: "checkpoint_mismatch",
      message: expect.stringMatching(found),
    });
    tensor.dispose();
    expect(existsSync(target)).toBe(false);
  });
});

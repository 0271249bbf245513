/**
 * @file `convert` and `merge`: the tensors are the same bytes under other programs' names, read here without our own reader, and every
 * form has the same scores; a merged adapter has those of peft.
 */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { safetensors } from "../safetensors-file.ts";
import { randomWeights, stored } from "../small-checkpoint.ts";
import { root, run } from "./command.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-convert-"));
beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits
afterAll(() => rmSync(folder, { recursive: true }));

const fixtures = path.join(root, "test/fixtures");
const published = { plain: "parity/plain", grouped: "parity/grouped", qwen3: "qwen3/plain" };

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: string;
}

/** All tensors of a folder, by their stored names. */
function tensorsOf(model: string): Map<string, Entry> {
  const tensors = new Map<string, Entry>();
  for (const name of readdirSync(model).filter((name) => name.endsWith(".safetensors"))) {
    const file = readFileSync(path.join(model, name));
    const length = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.subarray(8, 8 + length).toString());
    for (const [key, { dtype, shape, data_offsets }] of Object.entries<{
      dtype: string;
      shape: number[];
      data_offsets: [number, number];
    }>(header)) {
      if (key === "__metadata__") continue;
      const [from, to] = data_offsets;
      tensors.set(key, { dtype, shape, bytes: file.subarray(8 + length + from, 8 + length + to).toString("base64") });
    }
  }
  return tensors;
}

/** Of float32 or bfloat16. */
function numbers(entry: Entry | undefined): Float32Array {
  const bytes = Buffer.from(entry?.bytes ?? "", "base64");
  if (entry?.dtype === "F32")
    return Float32Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(4 * at));
  const wide = Uint32Array.from({ length: bytes.length / 2 }, (_, at) => bytes.readUInt16LE(2 * at) * 2 ** 16);
  return new Float32Array(wide.buffer);
}

/** What transformers since 4.52, older ones, vLLM and TRL call the same tensor, as one name. */
const plainName = (name: string) =>
  name
    .replace(/^model\.language_model\./, "model.")
    .replace(/^model\.visual\./, "visual.")
    .replace(/^(v_head\.summary|score)\./, "head.");

/** A bias of 0 is none: classifiers of transformers have no place for one. */
const comparable = (model: string) =>
  new Map(
    [...tensorsOf(model)]
      .map(([name, entry]) => [plainName(name), entry] as const)
      .filter(([name, { bytes }]) => !(name === "head.bias" && /^A*=*$/.test(bytes)))
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );

async function convert(model: string, target: string, form: string): Promise<string> {
  const { code, stderr, stdout } = await run(["convert", model, target, "--to", form]);
  expect(stderr, stderr).not.toContain("vl-reward:");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ folder: target, form });
  return target;
}

async function scores(model: string, records: string): Promise<string> {
  const { stdout } = await run(["score", path.join(fixtures, records), "--model", model, "--device", "cpu"]);
  return stdout;
}

describe.each(Object.entries(published))("%s", (name, place) => {
  const model = path.join(fixtures, place);
  const records = path.join(place, "../cases.jsonl");
  const expected = comparable(model);
  const target = (form: string) => path.join(folder, `${name}-${form}`);

  test.each(["vllm", "trl", "transformers5"])("as %s: the same bytes, the same scores", async (form) => {
    await convert(model, target(form), form);
    expect(comparable(target(form))).toEqual(expected);
    expect(await scores(target(form), records)).toBe(await scores(model, records));
  });

  test("round trips end where they began", async () => {
    const way = [target("vllm"), path.join(folder, `${name}-1`), path.join(folder, `${name}-2`)] as const;
    await convert(way[0], way[1], "transformers5");
    await convert(way[1], way[2], "trl");
    expect(readdirSync(way[2]).toSorted()).toEqual(readdirSync(target("trl")).toSorted());
    for (const file of readdirSync(target("trl"))) {
      const [found, first] = [way[2], target("trl")].map((model) => readFileSync(path.join(model, file)));
      if (file === "config.json") expect(JSON.parse(String(found))).toEqual(JSON.parse(String(first)));
      else expect(found?.equals(first ?? Buffer.alloc(0)), file).toBe(true);
    }
  });

  test("has the names and the config that each reader looks for", () => {
    const config = (form: string) => JSON.parse(readFileSync(path.join(target(form), "config.json"), "utf8"));
    const family = name === "qwen3" ? "Qwen3" : "Qwen2_5_VL";
    expect(config("vllm")).toMatchObject({
      architectures: [`${family}ForSequenceClassification`],
      num_labels: 1,
      problem_type: "regression",
    });
    const names = (form: string) => [...tensorsOf(target(form)).keys()];
    expect(names("vllm")).toContain("score.weight");
    expect(names("trl")).toEqual(expect.arrayContaining(["v_head.summary.weight", "v_head.summary.bias"]));
    expect(readdirSync(target("trl"))).toContain("value_head.safetensors");
    const current = names("transformers5").filter((name) => /\.layers\.|visual/.test(name));
    const prefix = name === "qwen3" ? /^model\.layers\./ : /^model\.(language_model\.layers|visual)\./;
    expect(current.filter((name) => !prefix.test(name))).toEqual([]);
    for (const form of ["vllm", "trl", "transformers5"]) {
      expect(readFileSync(path.join(target(form), "tokenizer.json"))).toEqual(
        readFileSync(path.join(model, "tokenizer.json")),
      );
    }
  });
});

test("a merged adapter has peft's scores, and the bits of one that is merged in memory", async () => {
  const adapter = path.join(fixtures, "adapter");
  const merged = path.join(folder, "merged");
  const base = path.join(fixtures, "untrained");
  const { code, stdout } = await run(["merge", adapter, merged, "--base", base, "--dtype", "float32"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ folder: merged, base });
  const expected = readFileSync(path.join(adapter, "scores.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const ids = new Set(expected.map(({ id }) => id));
  const lines = readFileSync(path.join(fixtures, "parity/cases.jsonl"), "utf8").trim().split("\n");
  const records = path.join(fixtures, "parity"); // the pictures' paths begin here
  const input = lines
    .filter((line) => ids.has(JSON.parse(line).id))
    .map((line) => line.replaceAll('"media/', `"${records}/media/`))
    .join("\n");
  const inMemory = await run(["score", "-", "--model", adapter, "--base", base, "--device", "cpu"], input);
  const { stdout: found } = await run(["score", "-", "--model", merged, "--device", "cpu"], input);
  const results = found
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(results.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
  for (const [index, { score }] of results.entries()) expect(score).toBeCloseTo(expected[index].scores[0], 4);
  expect(inMemory.stdout).toBe(found);
});

test("a merged adapter is stored as its base is, each sum rounded once", async () => {
  const [adapter, base, merged] = [
    path.join(fixtures, "adapter"),
    path.join(fixtures, "untrained"),
    path.join(folder, "rounded"),
  ];
  expect((await run(["merge", adapter, merged, "--base", base])).code).toBe(0);
  const [before, after, low] = [tensorsOf(base), tensorsOf(merged), tensorsOf(adapter)];
  const changed = [...after]
    .filter(([name, { bytes }]) => before.has(name) && before.get(name)?.bytes !== bytes)
    .map(([name]) => name);
  expect(changed).toContain("model.layers.0.self_attn.q_proj.weight");
  for (const [name, { dtype }] of before) expect(after.get(name)?.dtype, name).toBe(dtype);
  const name = "model.layers.0.self_attn.q_proj";
  const [a, b] = ["A", "B"].map((half) => numbers(low.get(`base_model.model.${name}.lora_${half}.weight`)));
  const [w, sum] = [before, after].map((model) => numbers(model.get(`${name}.weight`)));
  if (!a || !b || !w || !sum) throw new Error("a tensor is missing");
  const rank = 4; // and lora_alpha 6
  const inputs = a.length / rank;
  for (const [at, value] of sum.entries()) {
    const [row, column] = [Math.floor(at / inputs), at % inputs];
    let product = 0;
    for (let k = 0; k < rank; k++) product += (b[row * rank + k] ?? 0) * (a[k * inputs + column] ?? 0);
    const exact = (w[at] ?? 0) + (6 / rank) * product;
    expect(Math.abs(value - exact)).toBeLessThanOrEqual(Math.abs(exact) * 2 ** -8 + 1e-6); // half a step of bfloat16, and float32's sums
  }
});

describe("refused", () => {
  const plain = path.join(fixtures, "parity/plain");
  const deep = path.join(folder, "deep");
  beforeAll(() => {
    cpSync(plain, deep, { recursive: true });
    const shapes = new Map([
      ["v_head.summary.0.weight", [8, 64]],
      ["v_head.summary.0.bias", [8]],
      ["v_head.summary.2.weight", [1, 8]],
      ["v_head.summary.2.bias", [1]],
    ]);
    const head = [...randomWeights(shapes, 3)].map(([name, weight]) => [name, stored(weight, "float32")] as const);
    writeFileSync(path.join(deep, "value_head.safetensors"), safetensors(Object.fromEntries(head), 64));
  });

  it.each([
    [["convert", deep, path.join(folder, "no"), "--to", "vllm"], "head of two layers"],
    [["convert", plain, plain, "--to", "trl"], "Choose another output folder"],
    [["convert", plain, path.join(folder, "no")], "--to is missing"],
    [["convert", plain, path.join(folder, "no"), "--to", "gguf"], "Allowed choices are vllm, trl, transformers5"],
    [
      ["convert", path.join(fixtures, "untrained/absent"), path.join(folder, "no"), "--to", "trl"],
      "There is no folder",
    ],
    [["merge", plain, path.join(folder, "no")], "is no adapter"],
    [
      ["merge", path.join(fixtures, "adapter"), path.join(fixtures, "adapter"), "--base", plain],
      "Choose another output folder",
    ],
  ])("%j", async (args, message) => {
    const { code, stderr } = await run(args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(readdirSync(folder)).not.toContain("no");
  });

  test("a head of two layers keeps its place in the other forms", async () => {
    await convert(deep, path.join(folder, "deep-5"), "transformers5");
    expect(comparable(path.join(folder, "deep-5"))).toEqual(comparable(deep));
    expect(await scores(path.join(folder, "deep-5"), "parity/cases.jsonl")).toBe(
      await scores(deep, "parity/cases.jsonl"),
    );
  });
});

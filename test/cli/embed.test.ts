/**
 * @file `vl-reward embed` end to end. The truth are hidden states that transformers 4.51.3 computed (test/fixtures/parity), pooled
 * here in double precision; .npy files are read by what numpy.lib.format says of them.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { fromFloat16, toFloat16 } from "../../src/files/float16.ts";
import { mapFile, type Tensor } from "../../src/torch/index.ts";
import { exitCode, run, start } from "./command.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures/parity");
const cases = path.join(fixtures, "cases.jsonl");
const plain = ["--model", path.join(fixtures, "plain")];
const hidden = 128; // of models/tiny

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-embed-"));
const inFolder = (name: string): string => path.join(folder, name);
function file(name: string, ...records: readonly unknown[]): string {
  const lines = records.map((record) => (typeof record === "string" ? record : JSON.stringify(record)));
  writeFileSync(inFolder(name), lines.map((line) => `${line}\n`).join(""));
  return inFolder(name);
}

beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Line {
  readonly id: string | number;
  readonly embedding?: readonly number[];
  readonly embeddings?: readonly (readonly number[])[];
  readonly chosen?: readonly number[];
  readonly rejected?: readonly number[];
  readonly error?: { readonly code: string; readonly message: string };
}

const parsed = <T>(text: string): T[] => {
  expect(text === "" || text.endsWith("\n")).toBe(true);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
};

/** A record's vectors, in the order of its answers. */
const vectorsOf = ({ embedding, embeddings, chosen, rejected }: Line): (readonly number[])[] =>
  [embedding, ...(embeddings ?? []), chosen, rejected].filter((vector) => vector !== undefined);

async function embed(...args: readonly string[]): Promise<Line[]> {
  const { code, stdout, stderr } = await run(["embed", ...args]);
  expect(code, stderr).toBe(0);
  return parsed(stdout);
}

/** Reads version 1.0 of the format, as NumPy does: rows that the header does not count are not there. */
function readNpy(file: string): { readonly descr: string; readonly rows: number[][] } {
  const bytes = readFileSync(file);
  expect(bytes.subarray(0, 8).toString("latin1")).toBe("\x93NUMPY\x01\x00");
  const start = 10 + bytes.readUInt16LE(8);
  expect(start % 64).toBe(0);
  const header = /^\{'descr': '(<f[24])', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \} *\n$/.exec(
    bytes.subarray(10, start).toString("latin1"),
  );
  if (!header) throw new Error("no header");
  const [, descr = "", count, columns] = header;
  const width = descr === "<f4" ? 4 : 2;
  const at = (row: number, column: number): number => {
    const offset = start + width * (row * Number(columns) + column);
    return width === 4 ? bytes.readFloatLE(offset) : fromFloat16(bytes.readUInt16LE(offset));
  };
  const numbers = (length: number) => Array.from({ length }, (_, index) => index);
  const rows = numbers(Number(count)).map((row) => numbers(Number(columns)).map((column) => at(row, column)));
  return { descr, rows };
}

describe("what the reference computes", () => {
  const expected = new Map<string, Tensor>();
  let last = "";
  let opener = -1;

  beforeAll(() => {
    const tensors = path.join(fixtures, "plain.expected.safetensors");
    const header = [...readSafetensorsHeader(tensors)];
    const mapped = mapFile(
      tensors,
      header.map(([, place]) => place),
    );
    for (const [index, tensor] of mapped.entries()) expected.set(header[index]?.[0] ?? "", tensor);
    const config: { num_hidden_layers: number } = JSON.parse(
      readFileSync(path.join(fixtures, "plain/config.json"), "utf8"),
    );
    last = `hidden.${config.num_hidden_layers}`;
    const tokenizer: { added_tokens: { id: number; content: string }[] } = JSON.parse(
      readFileSync(path.join(fixtures, "plain/tokenizer.json"), "utf8"),
    );
    opener = tokenizer.added_tokens.find(({ content }) => content === "<|im_start|>")?.id ?? -1;
  });
  afterAll(() => {
    for (const tensor of expected.values()) tensor.dispose();
  });

  const expectedOf = (name: string): Tensor => {
    const tensor = expected.get(name);
    if (!tensor) throw new Error(`the fixture lacks ${name}`);
    return tensor;
  };

  /** Hidden states of a case, row by row, and how many of them are the prompt's. */
  function statesOf(name: string): { readonly rows: Float32Array[]; readonly prompt: number } {
    const states = expectedOf(`${name}/${last}`);
    const width = states.shape.at(-1) ?? 0;
    const all = states.toFloat32Array();
    const rows = Array.from({ length: all.length / width }, (_, row) => all.subarray(row * width, (row + 1) * width));
    const ids = Array.from(expectedOf(`${name}/input_ids`).toTypedArray(), Number);
    return { rows, prompt: ids.lastIndexOf(opener) + 1 };
  }

  const pooled = (rows: readonly Float32Array[], how: string): number[] =>
    how === "last"
      ? [...(rows.at(-1) ?? [])]
      : [...(rows[0] ?? [])].map((_, column) => rows.reduce((sum, row) => sum + (row[column] ?? 0), 0) / rows.length);

  test.each([
    ["conversation", "mean"],
    ["conversation", "last"],
    ["answer", "mean"],
    ["answer", "last"],
    ["prompt", "mean"],
    ["prompt", "last"],
  ])("--of %s --pool %s, to 1e-5", async (of, how) => {
    const lines = await embed(cases, ...plain, "--of", of, "--pool", how);
    let compared = 0;
    for (const line of lines) {
      const found = vectorsOf(line);
      for (const [answer, vector] of found.entries()) {
        const { rows, prompt } = statesOf(`${line.id}-${answer}`);
        const read = { conversation: rows, answer: rows.slice(prompt), prompt: rows.slice(0, prompt) }[of] ?? [];
        const truth = pooled(read, how);
        expect(vector).toHaveLength(truth.length);
        const scale = Math.max(...truth.map(Math.abs));
        const worst = Math.max(...truth.map((value, index) => Math.abs(value - (vector[index] ?? Number.NaN))));
        // A video file passes other versions of FFmpeg and of torch's resize: a few values differ by a level.
        expect(worst / scale, `${line.id}-${answer}`).toBeLessThan(line.id === "clip" ? 5e-3 : 1e-5);
        compared++;
      }
    }
    expect(lines).toHaveLength(19);
    expect(compared).toBe(of === "prompt" ? 19 : 22);
  });

  test("--normalize scales to length 1 and turns nothing", async () => {
    const [as, unit] = [await embed(cases, ...plain), await embed(cases, ...plain, "--normalize")];
    for (const [index, line] of unit.entries()) {
      for (const [answer, vector] of vectorsOf(line).entries()) {
        const original = vectorsOf(as[index] ?? line)[answer] ?? [];
        expect(Math.hypot(...vector)).toBeCloseTo(1, 6);
        const cosine =
          vector.reduce((sum, value, at) => sum + value * (original[at] ?? 0), 0) / Math.hypot(...original);
        expect(cosine).toBeCloseTo(1, 6);
      }
    }
  });
});

describe("the same bits", () => {
  const records: { id: string }[] = readFileSync(cases, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  /** As a file of its own beside the media. */
  const alone = (id: string) => run(["embed", "-", ...plain, "--of", "answer"], `${aloneLine(id)}\n`);
  const aloneLine = (id: string) =>
    JSON.stringify(records.find((record) => record.id === id)).replaceAll("media/", `${fixtures}/media/`);

  test("alone, in company, behind a cached prompt and picture, with features of an earlier run", async () => {
    const cache = ["--feature-cache", inFolder("features")];
    const twice = file("twice.jsonl", ...[...records, ...records].map(({ id }) => aloneLine(id)));
    const first = await embed(twice, ...plain, "--of", "answer", ...cache);
    const again = await embed(twice, ...plain, "--of", "answer", ...cache);
    expect(again).toEqual(first);
    expect(first.slice(records.length)).toEqual(first.slice(0, records.length));
    for (const id of ["pair", "odd"]) {
      const { stdout } = await alone(id);
      expect(parsed<Line>(stdout)).toEqual(first.filter((line) => line.id === id).slice(0, 1));
    }
  });

  test("of a prompt, whatever its answers, or none", async () => {
    const messages = [{ role: "user", content: "Name a colour." }];
    const input = file(
      "prompts.jsonl",
      { messages },
      { messages: [...messages, { role: "assistant", content: "Blue." }] },
      { messages, responses: ["Red.", "Green, of course."] },
      { messages, chosen: "Red.", rejected: "Seven." },
    );
    const lines = await embed(input, "--of", "prompt");
    expect(lines.map(({ id }) => id)).toEqual([0, 1, 2, 3]);
    for (const line of lines) {
      expect(Object.keys(line)).toEqual(["id", "embedding"]);
      expect(line.embedding).toHaveLength(hidden);
      expect(line.embedding).toEqual(lines[0]?.embedding);
    }
  });
});

const question = { role: "user", content: "What is 2 + 2?" };
const mixed = [
  { id: "one", messages: [question, { role: "assistant", content: "It is 4." }] },
  { id: "none", messages: [question] },
  { id: "three", messages: [question], responses: ["4", "5", ""] },
  "not json",
  { id: 1.5, messages: [question], chosen: "4", rejected: "Purple." },
];

describe("output", () => {
  test("has a line for each record, an error where it failed, and 1 as exit code", async () => {
    const { code, stdout, stderr } = await run(["embed", file("mixed.jsonl", ...mixed)]);
    expect(code).toBe(1);
    expect(stderr).toContain("2 of them could not be embedded");
    const lines = parsed<Line>(stdout);
    expect(lines.map((line) => [line.id, ...Object.keys(line).slice(1)])).toEqual([
      ["one", "embedding"],
      ["none", "error"],
      ["three", "embeddings"],
      [3, "error"],
      [1.5, "chosen", "rejected"],
    ]);
    expect(lines.map(({ error }) => error?.code)).toEqual([
      undefined,
      "no_assistant_turn",
      undefined,
      "invalid_json",
      undefined,
    ]);
    expect(lines[1]?.error?.message).toContain("--of prompt");
    expect(lines.flatMap(vectorsOf).map(({ length }) => length)).toEqual(new Array(6).fill(hidden));
    expect(lines[2]?.embeddings?.[0]).toEqual(lines[4]?.chosen);
  });

  test.each([
    ["float32", "<f4"],
    ["float16", "<f2"],
  ])("as a matrix of %s has the numbers of the lines, in their order, and says whose they are", async (type, descr) => {
    const input = file("mixed.jsonl", ...mixed);
    const [lines, matrix] = [inFolder(`${type}.jsonl`), inFolder(`${type}.npy`)];
    writeFileSync(matrix, "what stood here before ".repeat(1000));
    for (const output of [lines, matrix]) {
      const { code, stdout } = await run(["embed", input, "--precision", type, "--output", output]);
      expect([code, stdout]).toEqual([1, ""]);
    }
    const { descr: found, rows } = readNpy(matrix);
    expect(found).toBe(descr);
    expect(statSync(matrix).size).toBe(128 + 6 * hidden * (type === "float32" ? 4 : 2));
    const round = type === "float32" ? Math.fround : (value: number) => fromFloat16(toFloat16(value));
    const written = parsed<Line>(readFileSync(lines, "utf8")).flatMap(vectorsOf);
    expect(rows).toEqual(written.map((vector) => vector.map(round)));
    expect(parsed(readFileSync(`${matrix}.jsonl`, "utf8"))).toEqual([
      { row: 0, id: "one" },
      { row: null, id: "none", error: expect.objectContaining({ code: "no_assistant_turn" }) },
      { row: 1, id: "three", answer: 0 },
      { row: 2, id: "three", answer: 1 },
      { row: 3, id: "three", answer: 2 },
      { row: null, id: 3, error: expect.objectContaining({ code: "invalid_json" }) },
      { row: 4, id: 1.5, answer: 0 },
      { row: 5, id: 1.5, answer: 1 },
    ]);
    if (type === "float32") return;
    const exact = (await run(["embed", input])).stdout;
    expect(rows).toEqual(
      parsed<Line>(exact)
        .flatMap(vectorsOf)
        .map((vector) => vector.map(round)),
    );
  });

  test("of an empty input is a matrix without rows, as wide as the model", async () => {
    const matrix = inFolder("empty.npy");
    expect((await run(["embed", "-", "--output", matrix])).code).toBe(0);
    expect(readNpy(matrix).rows).toEqual([]);
    expect(readFileSync(matrix, "latin1")).toContain(`'shape': (0, ${hidden})`);
    expect(readFileSync(`${matrix}.jsonl`, "utf8")).toBe("");
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGKILL", null],
  ] as const)("can be loaded after %s, with a row for each line", async (signal, code) => {
    const long = { messages: [question, { role: "assistant", content: "word ".repeat(300) }] };
    const input = file("long.jsonl", ...new Array<unknown>(20_000).fill(long));
    const matrix = inFolder(`${signal}.npy`);
    const child = start("embed", input, "--output", matrix);
    while (!existsSync(`${matrix}.jsonl`) || statSync(`${matrix}.jsonl`).size === 0) await sleep(20);
    await sleep(300);
    child.kill(signal);
    expect(await exitCode(child)).toBe(code);
    const { rows } = readNpy(matrix);
    const lines = parsed<{ row: number }>(readFileSync(`${matrix}.jsonl`, "utf8"));
    expect(lines.map(({ row }) => row)).toEqual(lines.map((_, index) => index));
    expect(lines.length).toBeLessThan(20_000);
    expect(rows.length - lines.length).toBeGreaterThanOrEqual(0);
    expect(rows.length - lines.length).toBeLessThanOrEqual(signal === "SIGKILL" ? 1 : 0);
    expect(rows.at(-1)).toEqual(rows[0]);
  });

  test("that was interrupted before its first row leaves no file that does not load", async () => {
    const matrix = inFolder("early.npy");
    const child = start("embed", "-", "--output", matrix); // waits for its input
    while (!existsSync(`${matrix}.jsonl`)) await sleep(5);
    await sleep(100);
    child.kill("SIGINT");
    expect(await exitCode(child)).toBe(130);
    if (existsSync(matrix)) expect(readNpy(matrix).rows).toEqual([]);
  });

  test("has to be a regular file, and no other of the run", async () => {
    const input = file("taken.npy.jsonl", mixed[0]);
    const before = readFileSync(input, "utf8");
    const taken = await run(["embed", input, "--output", inFolder("taken.npy")]);
    expect([taken.code, taken.stderr]).toEqual([2, expect.stringContaining("another file of this run")]);
    expect(readFileSync(input, "utf8")).toBe(before);
    expect(existsSync(inFolder("taken.npy"))).toBe(false);
    symlinkSync("/dev/null", inFolder("null.npy"));
    const device = await run(["embed", input, "--output", inFolder("null.npy")]);
    expect([device.code, device.stderr]).toEqual([2, expect.stringContaining("no regular file")]);
  });
});

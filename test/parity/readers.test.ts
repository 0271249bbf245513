/**
 * @file What the readers of a pass answer, against transformers 4.51.3: log-probabilities that it computed (test/fixtures/readers),
 * and its hidden states (test/fixtures/parity), of which everything else is made here in double precision.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import { readRecord } from "../../src/data/record.ts";
import { PassRunner } from "../../src/engine/pass/pass.ts";
import type { ReadAnswer, ReadRequest } from "../../src/engine/read/reader.ts";
import type { GroupPrompt } from "../../src/models/prompt.ts";
import { RewardModel } from "../../src/models/reward-model.ts";
import { placement } from "../../src/nn/index.ts";
import { groupOf } from "../../src/reward/record-groups.ts";
import { mapFile, type Tensor } from "../../src/torch/index.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures");

interface Prepared {
  readonly id: string;
  readonly prompt: GroupPrompt;
}

/** The records of a file as groups, and the model of a checkpoint with all its parts at hand. */
async function prepared(folder: string, file: string): Promise<Prepared[]> {
  const model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
  const processor = await model.family.loadProcessor({ limits: {} });
  model.dispose();
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return Promise.all(
    lines.map(async (line, number) => {
      const read = readRecord(line, number);
      if ("error" in read) throw read.error;
      const { prefix, branches, baseFolder } = groupOf(read.record, path.dirname(file));
      return { id: String(read.id), prompt: await processor.prepare(prefix, branches, { baseFolder }) };
    }),
  );
}

interface Likely {
  readonly tokens: readonly number[];
  readonly logprobs: readonly number[];
}

describe.each(["plain", "grouped"])("checkpoint %s", (shape) => {
  const folder = path.join(fixtures, "parity", shape);
  const load = (options = {}) => PassRunner.load({ folder, dtype: "float32", device: "cpu", ...options });

  describe("log-probabilities", () => {
    const file = path.join(fixtures, "readers/answers.jsonl");
    const request: ReadRequest = { kind: "logProbs" };
    const expected = new Map<string, { prompt_tokens: number; answers: Likely[] }>();
    let groups: Prepared[];
    beforeAll(async () => {
      groups = await prepared(folder, file);
      for (const line of readFileSync(path.join(fixtures, `readers/${shape}.answers.jsonl`), "utf8")
        .trim()
        .split("\n")) {
        const read = JSON.parse(line);
        expected.set(read.id, read);
      }
    });

    function expectReference(id: string, answer: number, found: ReadAnswer | undefined): void {
      const { tokens, logprobs } = expected.get(id)?.answers[answer] ?? { tokens: [], logprobs: [] };
      if (typeof found !== "object" || found instanceof Float32Array) throw new Error(`${id}: no log-probabilities`);
      expect(found.each, id).toHaveLength(tokens.length);
      for (const [index, value] of logprobs.entries()) {
        const difference = Math.abs((found.each[index] ?? Number.NaN) - value);
        expect(difference, `${id}/${answer}, token ${index}: ${value}`).toBeLessThan(1e-4);
      }
      const sum = logprobs.reduce((total, value) => total + value, 0);
      expect(Math.abs(found.sum - sum), `${id}/${answer}`).toBeLessThan(1e-4 * Math.max(1, Math.sqrt(tokens.length)));
    }

    test("the fixture has what it is for: a prompt of several chunks, an answer of several batches of logits", () => {
      expect(expected.size).toBe(groups.length);
      expect(Math.max(...groups.map(({ prompt }) => prompt.prefix.ids.length))).toBeGreaterThan(1024);
      const answers = [...expected.values()].flatMap((record) => record.answers);
      expect(Math.max(...answers.map(({ tokens }) => tokens.length))).toBeGreaterThan(256);
      for (const { id, prompt } of groups) {
        const { header } = prompt.answerTokens; // counted to the reference's prompt
        expect(prompt.prefix.ids.length + header, id).toBe(expected.get(id)?.prompt_tokens);
        for (const [answer, { ids }] of prompt.branches.entries()) {
          const { tokens = [] } = expected.get(id)?.answers[answer] ?? {};
          expect([...ids.subarray(header, header + tokens.length)], `${id}/${answer}`).toEqual(tokens);
        }
      }
    });

    test.each([
      ["all answers of all groups in one pass", {}],
      ["in chunks and few at a time", { tokenBudget: 20 }],
      ["nothing kept", { prefixCacheBytes: 0, featureCacheBytes: 0 }],
    ])("%s", (_, options) => {
      const runner = load(options);
      for (let turn = 0; turn < 2; turn++) {
        const found = runner.answer(groups.map(({ prompt }) => ({ prompt, read: [request] })));
        for (const [index, { id }] of groups.entries()) {
          for (const [answer, [own]] of (found[index] ?? []).entries()) expectReference(id, answer, own);
        }
      }
      runner.dispose();
    });

    test("every answer alone", () => {
      const runner = load();
      for (const { id, prompt } of groups) {
        for (const [answer, branch] of prompt.branches.entries()) {
          const [found] = runner.answer([{ prompt: { ...prompt, branches: [branch] }, read: [request] }]);
          expectReference(id, answer, found?.[0]?.[0]);
        }
      }
      expect(runner.stats.prefixes.hits).toBeGreaterThan(0);
      runner.dispose();
    });
  });

  describe("of the reference's hidden states", () => {
    const file = path.join(fixtures, "parity/cases.jsonl");
    const reference = new Map<string, Tensor>();
    let groups: Prepared[];
    let head: { readonly weight: Float32Array; readonly bias: number };
    let vocabulary: Float32Array;

    beforeAll(async () => {
      groups = await prepared(folder, file);
      const states = path.join(fixtures, `parity/${shape}.expected.safetensors`);
      const header = [...readSafetensorsHeader(states)];
      const tensors = mapFile(
        states,
        header.map(([, place]) => place),
      );
      for (const [index, [name]] of header.entries()) reference.set(name, tensors[index] as Tensor);
      const model = RewardModel.load(folder, placement("cpu", "float32", "mapped"));
      const parameters = new Map(model.namedParameters());
      head = {
        weight: parameters.get("head.weight")?.stored.toFloat32Array() ?? new Float32Array(),
        bias: parameters.get("head.bias")?.stored.toFloat32Array()[0] ?? 0,
      };
      vocabulary = model.languageHead().weight.toFloat32Array();
      model.dispose();
    });
    afterAll(() => {
      for (const tensor of reference.values()) tensor.dispose();
    });

    /** Of a conversation: its last layer's states, after the final norm, row by row. */
    function rowsOf(name: string): Float32Array[] {
      const layers = [...reference.keys()].flatMap((key) => (key.startsWith(`${name}/hidden.`) ? [key] : []));
      const last = reference.get(`${name}/hidden.${layers.length - 1}`);
      if (!last) throw new Error(`the fixture lacks ${name}`);
      const width = last.size(-1);
      const all = last.toFloat32Array();
      return Array.from({ length: all.length / width }, (_, row) => all.subarray(row * width, (row + 1) * width));
    }

    const dot = (a: Float32Array, b: Float32Array): number =>
      a.reduce((sum, value, index) => sum + value * (b[index] ?? Number.NaN), 0);

    function meanOf(rows: readonly Float32Array[]): number[] {
      return Array.from(rows[0] ?? [], (_, column) => {
        const sum = rows.reduce((total, row) => total + (row[column] ?? Number.NaN), 0);
        return sum / rows.length;
      });
    }

    const unit = (vector: readonly number[]): number[] => {
      const length = Math.hypot(...vector);
      return vector.map((value) => value / length);
    };

    const logits = (row: Float32Array): number[] =>
      Array.from({ length: vocabulary.length / row.length }, (_, token) =>
        dot(vocabulary.subarray(token * row.length, (token + 1) * row.length), row),
      );

    const positions = [0, -1];
    const parts = (["prompt", "answer", "conversation"] as const).flatMap((over) =>
      (["mean", "last"] as const).flatMap((how) => [true, false].map((normalise) => ({ over, how, normalise }))),
    );
    const requests: readonly ReadRequest[] = [
      { kind: "rewards" },
      { kind: "nextToken", positions },
      ...parts.map((part): ReadRequest => ({ kind: "pooled", ...part })),
    ];

    /** max|a - b| / max|b| */
    function expectNear(found: unknown, expected: readonly number[], tolerance: number, what: string): void {
      if (!(found instanceof Float32Array)) throw new Error(`${what}: no numbers`);
      expect(found, what).toHaveLength(expected.length);
      const scale = Math.max(...expected.map(Math.abs));
      const worst = Math.max(...expected.map((value, index) => Math.abs((found[index] ?? Number.NaN) - value)));
      expect(worst / scale, what).toBeLessThan(tolerance);
    }

    test.each([
      ["in one pass", {}],
      ["in streams of few tokens", { tokenBudget: 16 }],
    ])("%s: rewards at every token, pooled states and what could follow", (_, options) => {
      const runner = load(options);
      const found = runner.answer(groups.map(({ prompt }) => ({ prompt, read: requests })));
      runner.dispose();
      for (const [index, { id, prompt }] of groups.entries()) {
        for (const answer of prompt.branches.keys()) {
          const name = `${id}-${answer}`;
          // A video file passes other versions of FFmpeg and of torch's resize: a few values differ by a level.
          const tolerance = id === "clip" ? 5e-3 : 1e-4;
          const rows = rowsOf(name);
          const start = prompt.prefix.ids.length;
          const [rewards, next, ...vectors] = found[index]?.[answer] ?? [];
          const own = rows.slice(start);
          expectNear(
            rewards,
            own.map((row) => dot(row, head.weight) + head.bias),
            tolerance,
            name,
          );
          const expected = positions.flatMap((position) => logits(own.at(position) ?? new Float32Array()));
          expectNear(next, expected, tolerance, name);
          for (const [at, part] of parts.entries()) {
            const read = { prompt: rows.slice(0, start), answer: own, conversation: rows }[part.over];
            const vector = part.how === "mean" ? meanOf(read) : Array.from(read.at(-1) ?? []);
            expectNear(
              vectors[at],
              part.normalise ? unit(vector) : vector,
              tolerance,
              `${name} ${JSON.stringify(part)}`,
            );
          }
        }
      }
    });

    test("the likeliest next token is the reference's, where it is ahead by more than rounding", () => {
      const runner = load();
      const size = vocabulary.length / head.weight.length;
      let compared = 0;
      for (const { id, prompt } of groups) {
        const all = Array.from({ length: Math.min(...prompt.branches.map(({ ids }) => ids.length)) }, (_, at) => at);
        const [found] = runner.answer([{ prompt, read: [{ kind: "nextToken", positions: all }] }]);
        for (const [answer, [numbers]] of (found ?? []).entries()) {
          if (!(numbers instanceof Float32Array)) throw new Error("no numbers");
          const own = rowsOf(`${id}-${answer}`).slice(prompt.prefix.ids.length);
          for (const at of all) {
            const expected = logits(own[at] ?? new Float32Array());
            const [best = 0, second = 0] = expected.toSorted((a, b) => b - a);
            if (best - second < 0.01 * Math.abs(best)) continue;
            const ours = numbers.subarray(at * size, (at + 1) * size);
            expect(ours.indexOf(Math.max(...ours)), `${id}-${answer}, token ${at}`).toBe(expected.indexOf(best));
            compared++;
          }
        }
      }
      runner.dispose();
      expect(compared).toBeGreaterThan(50);
    });
  });
});

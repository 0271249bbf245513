/**
 * @file Text-only Qwen3 held against the reference: test/fixtures/qwen3 holds what transformers 4.57.6 computed on checkpoints of
 * two shapes. Everything goes through what any backbone offers, as the engine and training do.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.ts";
import type { Message } from "../../src/conversation.ts";
import { readRecord } from "../../src/data/record.ts";
import { type TokenStream, unrecorded } from "../../src/models/backbone.ts";
import { RewardModel } from "../../src/models/reward-model.ts";
import { PackedAttention } from "../../src/nn/attention/packed-attention.ts";
import { type LayerRunner, placement, runLayers } from "../../src/nn/index.ts";
import {
  accumulatedGradient,
  backward,
  clone,
  keep,
  mapFile,
  narrow,
  noGrad,
  scope,
  sum,
  type Tensor,
} from "../../src/torch/index.ts";
import { run } from "../cli/command.ts";
import { wholeConversation } from "../conversation.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures/qwen3");

/** The lines that a command or the reference has printed. */
const linesOf = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** Each conversation of a file of records, as the fixture's tensors are named: <id>-<answer>. */
const conversationsOf = (file: string): { name: string; messages: readonly Message[] }[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .flatMap((line, number) => {
      const read = readRecord(line, number);
      if ("error" in read) throw read.error;
      const { record, id } = read;
      return record.answers.map((own, answer) => ({ name: `${id}-${answer}`, messages: [...record.prompt, own] }));
    });

interface Fixture {
  readonly folder: string; // all of these are of test/fixtures/qwen3
  readonly records: string;
  readonly tensors: string;
  readonly scores: string;
  readonly gradientsOf: string; // the conversation whose score is differentiated
  readonly gradients: number;
  readonly biasedHead: boolean;
}

const ofShape = (shape: string) => ({
  folder: shape,
  records: "cases.jsonl",
  tensors: `${shape}.expected.safetensors`,
  scores: `${shape}.scores.jsonl`,
  gradientsOf: "turns-0",
});
const checkpoints: Record<string, Fixture> = {
  plain: { ...ofShape("plain"), gradients: 16, biasedHead: true },
  odd: { ...ofShape("odd"), gradients: 15, biasedHead: false },
  // Three query heads to a key, an lm_head that nobody needs, and answers that the template takes apart.
  thoughts: {
    folder: "thoughts/checkpoint",
    records: "thoughts/cases.jsonl",
    tensors: "thoughts/expected.safetensors",
    scores: "thoughts/scores.jsonl",
    gradientsOf: "think-before-0",
    gradients: 14,
    biasedHead: false,
  },
};

/** max|a - b| / max|b|; NaN where any is. */
function relativeError(actual: Tensor, expected: Tensor): number {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = [actual.toFloat32Array(), expected.toFloat32Array()];
  const differences = b.map((value, i) => Math.abs((a[i] ?? Number.NaN) - value));
  return largest(differences) / largest(b.map(Math.abs));
}

const largest = (values: Float32Array): number => values.reduce((most, value) => Math.max(most, value), 0);

const integers = (tensor: Tensor): number[] => Array.from(tensor.toTypedArray(), Number);

/** Hidden states of a conversation by itself, every token read, after the final norm. */
function hiddenOf({ backbone }: RewardModel, stream: TokenStream, runner: LayerRunner = runLayers): Tensor {
  const groups = [{ prefix: { start: 0, length: stream.ids.length }, branches: [] }];
  const attention = new PackedAttention(groups, { dtype: "float32", device: "cpu" });
  return backbone.forwardAll(stream, undefined, attention, { ...unrecorded, run: runner });
}

/** -> the reward [1], read at the last token */
const rewardOf = (model: RewardModel, stream: TokenStream): Tensor =>
  model.head.forward(narrow(hiddenOf(model, stream), 0, stream.ids.length - 1, 1));

describe.each(Object.entries(checkpoints))("checkpoint %s", (_, fixture) => {
  const cases = conversationsOf(path.join(fixtures, fixture.records));
  const names = cases.map(({ name }) => name);
  const expected = new Map<string, Tensor>();
  const streams = new Map<string, TokenStream>();
  let model: RewardModel;

  beforeAll(async () => {
    const file = path.join(fixtures, fixture.tensors);
    const header = [...readSafetensorsHeader(file)];
    const places = header.map(([, place]) => place);
    for (const [index, tensor] of mapFile(file, places).entries()) expected.set(header[index]?.[0] ?? "", tensor);
    // Owned, so that one loading serves gradients too; the engine's tests load mapped.
    model = RewardModel.load(path.join(fixtures, fixture.folder), placement("cpu", "float32", "owned"));
    const processor = await model.family.loadProcessor({ limits: {} });
    for (const { name, messages } of cases) {
      const group = await processor.prepare(messages.slice(0, -1), messages.slice(-1), { baseFolder: fixtures });
      for (const branch of group.branches) streams.set(name, wholeConversation(group, branch).sequence);
    }
  });

  afterAll(() => {
    model.dispose();
    for (const tensor of expected.values()) tensor.dispose();
  });

  const expectedOf = (name: string): Tensor => {
    const tensor = expected.get(name);
    if (!tensor) throw new Error(`the fixture lacks ${name}`);
    return tensor;
  };
  const streamOf = (name: string): TokenStream => {
    const stream = streams.get(name);
    if (!stream) throw new Error(`no conversation ${name}`);
    return stream;
  };

  test.each(names)("%s: ids are the reference's, positions count up", (name) => {
    const { ids, positions, visualPlaces } = streamOf(name);
    expect([...ids]).toEqual(integers(expectedOf(`${name}/input_ids`)));
    const counted = [...ids.keys()];
    expect([...positions]).toEqual([...counted, ...counted, ...counted]);
    expect(visualPlaces).toHaveLength(0);
  });

  test.each(names)("%s: every layer to 1e-5, the score to 2e-5", (name) => {
    const layers = model.backbone.shape.decoder.layers;
    expect(expected.has(`${name}/hidden.${layers}`)).toBe(true);
    noGrad(() =>
      scope(() => {
        const before: Tensor[] = []; // what each layer reads
        const watched: LayerRunner = (all, x, forward) =>
          runLayers(all, x, (layer, hidden, index) => {
            before.push(keep(clone(hidden)));
            return forward(layer, hidden, index);
          });
        const last = hiddenOf(model, streamOf(name), watched);
        expect(before).toHaveLength(layers);
        for (const [index, hidden] of [...before, last].entries()) {
          expect(relativeError(hidden, expectedOf(`${name}/hidden.${index}`)), `state ${index}`).toBeLessThan(1e-5);
        }
        for (const hidden of before) hidden.dispose();
        const [score = Number.NaN] = rewardOf(model, streamOf(name)).toFloat32Array();
        const [reference = 0] = expectedOf(`${name}/score`).toFloat32Array();
        expect(Math.abs(score - reference)).toBeLessThan(2e-5);
      }),
    );
  });

  test("gradients of the score with respect to a weight of each kind, to 1e-4", () => {
    const wanted = [...expected.keys()].filter((name) => name.includes("/grad."));
    const parameters = new Map(model.namedParameters());
    for (const { stored } of parameters.values()) stored.setRequiresGrad(true);
    scope(() => backward(sum(rewardOf(model, streamOf(fixture.gradientsOf)))));
    const compared = wanted.flatMap((name) => {
      const parameter = parameters.get(name.slice(`${fixture.gradientsOf}/grad.`.length));
      if (!parameter) return []; // a score.weight has no bias
      const gradient = accumulatedGradient(parameter.stored);
      if (!gradient) throw new Error(`no gradient for ${name}`);
      expect(relativeError(gradient, expectedOf(name)), name).toBeLessThan(1e-4);
      return [name];
    });
    for (const { stored } of parameters.values()) stored.setRequiresGrad(false);
    expect(compared).toHaveLength(fixture.gradients);
    expect(parameters.has("head.bias")).toBe(fixture.biasedHead);
  });

  test("vl-reward score prints the reference's scores to 5e-5, in its order", async () => {
    const folder = path.join(fixtures, fixture.folder);
    const flags = ["--model", folder, "--device", "cpu", "--dtype", "float32"];
    const { code, stdout } = await run(["score", path.join(fixtures, fixture.records), ...flags]);
    expect(code).toBe(0);
    expectLike(linesOf(stdout), linesOf(readFileSync(path.join(fixtures, fixture.scores), "utf8")));
  });
});

test("a picture or video is an error of its record; the others are scored", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-qwen3-"));
  try {
    const of = (content: unknown): string =>
      JSON.stringify({
        messages: [
          { role: "user", content },
          { role: "assistant", content: "144" },
        ],
      });
    const text = "How much is 12 * 12?";
    const picture = { type: "image", image: path.join(fixtures, "../pictures/absent.png") };
    const lines = [
      of(text),
      of([picture, { type: "text", text }]),
      of([{ type: "video", video: "clip.mp4" }]),
      of(text),
    ];
    const file = path.join(folder, "records.jsonl");
    writeFileSync(file, `${lines.join("\n")}\n`);
    const flags = ["--model", path.join(fixtures, "plain"), "--device", "cpu", "--dtype", "float32"];
    const { code, stdout } = await run(["score", file, ...flags]);
    expect(code).toBe(1);
    const [first, second, third, last] = linesOf(stdout);
    expect(first?.score).toBeCloseTo(0.92237, 4); // the reference's
    expect(second?.error).toMatchObject({ code: "media_unsupported", message: expect.stringContaining("a picture") });
    expect(third?.error).toMatchObject({ code: "media_unsupported", message: expect.stringContaining("a video") });
    expect(last?.score).toBe(first?.score);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const backbones = path.join(import.meta.dirname, "../../../shared/backbones");

describe.skipIf(!existsSync(backbones))("the checkpoint of ../shared/backbones (needs it there)", () => {
  test.each(["text", "template"])("cases-%s to 5e-5", async (kind) => {
    const flags = ["--model", path.join(backbones, "models/qwen3"), "--device", "cpu", "--dtype", "float32"];
    const { code, stdout } = await run(["score", path.join(backbones, `cases-${kind}.jsonl`), ...flags]);
    expect(code).toBe(0);
    expectLike(linesOf(stdout), linesOf(readFileSync(path.join(backbones, `expected-${kind}-qwen3.jsonl`), "utf8")));
  });
});

/** Every number to 5e-5, everything else equal. */
function expectLike(actual: readonly unknown[], expected: readonly unknown[]): void {
  const near = (value: unknown): unknown => {
    if (typeof value === "number") return Number.isInteger(value) ? value : expect.closeTo(value, 4);
    if (Array.isArray(value)) return value.map(near);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, near(inner)]));
  };
  expect(actual).toEqual(expected.map(near));
}

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { writeWeights } from "../../../test/small-checkpoint.ts";
import { listTensors } from "../../checkpoint/checkpoint.ts";
import { Parameter, placement } from "../../nn/index.ts";
import { liveTensors, scope, zeros } from "../../torch/index.ts";
import { languageHeadOf, tiesEmbeddings } from "./language.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "language-head-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const writeConfig = (config: object): void => writeFileSync(path.join(folder, "config.json"), JSON.stringify(config));
const place = placement("cpu", "float32", "owned");

it.each([
  [{ tie_word_embeddings: true }, true],
  [{ tie_word_embeddings: false, text_config: { tie_word_embeddings: true } }, false],
  [{ text_config: { tie_word_embeddings: true } }, true], // as transformers 5 writes it
  [{ text_config: { tie_word_embeddings: false } }, false],
  [{ text_config: {} }, undefined],
  [{}, undefined],
  [null, undefined],
])("whether %j ties the embeddings", (config, expected) => {
  expect(tiesEmbeddings(config)).toBe(expected);
});

describe("the language head", () => {
  const embedding = new Parameter([4, 3]);
  beforeAll(() => scope(() => embedding.assign(zeros([4, 3], "float32"), place)));
  afterAll(() => embedding.dispose());
  const own = { shape: [4, 3], values: Float32Array.from({ length: 12 }, (_, i) => i / 8) };

  const stored = () => listTensors(folder).get("lm_head.weight");

  it.each([[{ tie_word_embeddings: true }], [{ text_config: { tie_word_embeddings: true } }]])(
    "is the embedding where %j says so, also of a folder without weights",
    (config) => {
      writeConfig(config);
      const head = languageHeadOf(embedding, undefined, folder, place);
      expect(head.weight).toBe(embedding.stored);
      expect(head.bytes).toBe(0);
      head.dispose();
      expect(embedding.stored.shape).toEqual([4, 3]); // the model's, and still there
    },
  );

  it("is the checkpoint's own elsewhere, in the dtype that is computed in, until it is disposed of", () => {
    writeConfig({ tie_word_embeddings: false });
    writeWeights(folder, new Map([["lm_head.weight", own]]), { dtype: "bfloat16" });
    const before = liveTensors();
    const head = languageHeadOf(embedding, stored(), folder, place);
    expect(head.weight.toFloat32Array()).toEqual(own.values);
    expect(head.bytes).toBe(4 * 12);
    head.dispose();
    expect(liveTensors()).toEqual(before);
  });

  it("is missed where the embeddings are not tied and none is stored", () => {
    writeConfig({ tie_word_embeddings: false });
    writeWeights(folder, new Map([["score.weight", { shape: [1, 3], values: new Float32Array(3) }]]));
    expect(() => languageHeadOf(embedding, stored(), folder, place)).toThrow(/has no language head/);
  });
});

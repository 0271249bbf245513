import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { summarise } from "./metrics.ts";
import { type ModelCard, modelCard } from "./model-card.ts";

const report = {
  path: "/somewhere/data.jsonl",
  format: "messages",
  records: 1000,
  usable: 990,
  pairs: 995,
  bad: { count: 10, first: [] },
  tooLong: { dropped: 0, cut: 0, refused: 0 },
  lengthUnknown: 0,
  longest: 512,
} as const;

const card: ModelCard = {
  name: "my *reward* model",
  base: { name: "Qwen/Qwen2.5-VL-7B-Instruct@main", onHub: true, commit: "c0ffee", fingerprint: "f1f1" },
  drawn: false,
  trained: ["merger", "decoder", "head"],
  adapter: undefined,
  modelType: "qwen2_5_vl",
  pythonExample: "print(1)",
  dtype: "bfloat16",
  saveDtype: "bfloat16",
  seed: 7,
  optimizer: "AdamW",
  losses: new Map([
    ["pairwise", "-log sigmoid(chosen - rejected)"],
    ["language", "the cross-entropy of the chosen answers"],
  ]),
  stages: [
    {
      name: "multimodal",
      steps: 1200,
      epochs: 2,
      batchSize: 64,
      learningRate: 1e-5,
      schedule: "cosine",
      warmupRatio: 0.03,
      loss: "pairwise + 0.5 language",
    },
  ],
  data: [{ use: "multimodal", path: "data/a|b`c.jsonl", weight: 1, report }],
  totals: { pairs: 76_800, tokens: 115_200_000, seconds: 11_100 },
  evaluations: [
    { stage: "multimodal", step: 600, ...summarise(Array(10).fill({ source: "a", margin: 1, loss: 0.25 })) },
    {
      stage: "multimodal",
      step: 1200,
      ...summarise(Array.from({ length: 10 }, (_, i) => ({ source: "a", margin: i < 8 ? 1 : -1, loss: 0.5 }))),
    },
  ],
  pixelLimits: { minPixels: 3136, maxPixels: 12_845_056 },
  versions: new Map([["vl-reward", "0.1.0"]]),
};

/** The YAML between the first two lines of three dashes, as the hub reads it. */
function headerOf(text: string): unknown {
  const [, header = ""] = /^---\n([\s\S]*?)\n---\n/.exec(text) ?? [];
  return parse(header);
}

/** Cells of the table whose first row begins so; an escaped bar separates nothing. */
function rowsUnder(text: string, first: string): string[][] {
  const lines = text.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${first} |`));
  const end = lines.findIndex((line, i) => i > start && !line.startsWith("|"));
  return lines.slice(start + 2, end).map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe("the model card", () => {
  it("has a header for the hub, without a license", () => {
    expect(headerOf(modelCard(card))).toEqual({
      library_name: "vl-reward",
      base_model: "Qwen/Qwen2.5-VL-7B-Instruct",
      base_model_relation: "finetune",
      base_model_revision: "c0ffee",
      tags: ["reward-model", "preference", "multimodal", "qwen2_5_vl"],
      metrics: ["accuracy"],
    });
    expect(modelCard(card)).toContain("add `license:` to the header");
  });

  it("names no base model that the hub does not have", () => {
    const text = modelCard({
      ...card,
      base: { name: "../models/mine", onHub: false, commit: null, fingerprint: "f1f1" },
    });
    expect(Object.keys(headerOf(text) ?? {})).toEqual(["library_name", "tags", "metrics"]);
    expect(text).toContain("- Base: `../models/mine`, fingerprint f1f1\n");
  });

  it("gives the last validation by source and the best with their intervals", () => {
    // 8 of 10 and 10 of 10 as in metrics.test.ts; Wilson's lower bound of n in n is n / (n + z^2)
    expect(rowsUnder(modelCard(card), "")).toEqual([
      ["last, step 1200", "10", "80.0%", "49.0% to 94.3%", "0.6", "0.5"],
      ["last, `a`", "10", "80.0%", "49.0% to 94.3%", "0.6", "0.5"],
      ["best, step 600", "10", "100.0%", "72.2% to 100.0%", "1", "0.25"],
    ]);
    expect(modelCard({ ...card, evaluations: [] })).toContain("No validation set was given.");
  });

  it("gives data and recipe, names and paths as they are", () => {
    const text = modelCard(card);
    expect(text).toContain("\n# my \\*reward\\* model\n");
    expect(rowsUnder(text, "used for")).toEqual([
      ["multimodal", "`` data/a\\|b`c.jsonl ``", "1", "1,000", "990", "995", "10"],
    ]);
    expect(rowsUnder(text, "stage")).toEqual([
      ["multimodal", "2 epochs, 1,200 steps", "64", "1e-5", "cosine", "3.0%", "pairwise + 0.5 language"],
    ]);
    expect(text).toContain("- Loss `pairwise`: -log sigmoid(chosen - rejected)\n");
    expect(text).toContain("- Loss `language`: the cross-entropy of the chosen answers\n");
    expect(text).toContain("- Seed: 7\n");
    expect(text).toContain("- Trained on: 76,800 pairs, 115,200,000 tokens, in 3 h 5 min\n");
    expect(text).toContain("- Versions: vl-reward 0.1.0\n");
    const adapted = modelCard({ ...card, adapter: { rank: 16, alpha: 32 } });
    expect(adapted).toContain("- Trained: `merger`, `decoder`, `head`, through LoRA of rank 16, alpha 32, merged\n");
  });

  it("shows how to score in Python", () => {
    expect(modelCard(card)).toContain("```python\nprint(1)\n```");
  });

  it("of a model for text says nothing of pictures", () => {
    const text = modelCard({ ...card, modelType: "qwen3", pixelLimits: undefined });
    expect(headerOf(text)).toMatchObject({ tags: ["reward-model", "preference", "qwen3"] });
    expect(text).not.toContain("Pixels of a picture");
  });

  it("knows nothing of the machine that it was made on", () => {
    expect(modelCard(card)).not.toContain("/somewhere");
  });
});

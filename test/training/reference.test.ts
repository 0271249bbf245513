/**
 * @file Training held against the reference: test/fixtures/training holds losses, gradient norms and scores of train.py (torch
 * 2.6, transformers 4.51.3) over five steps on checkpoints of two shapes; here the same steps are made, with everything
 * that makes them fast switched on and off.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { readPreference } from "../../src/data/preference.ts";
import { familyOf } from "../../src/models/families.ts";
import type { AnswerTokens } from "../../src/models/prompt.ts";
import { RewardModel } from "../../src/models/reward-model.ts";
import { placement } from "../../src/nn/index.ts";
import { liveTensors } from "../../src/torch/index.ts";
import { language } from "../../src/training/objectives/language.ts";
import { pairwise } from "../../src/training/objectives/pairwise.ts";
import { GroupedPass, type PreparedPairs } from "../../src/training/step/grouped-pass.ts";
import { Optimizer } from "../../src/training/step/optimizer.ts";
import { trainedParameters, trainedVision } from "../../src/training/step/trainable.ts";
import { VisionFeatures } from "../../src/training/step/vision-features.ts";
import { alone } from "../../src/training/world.ts";

const fixtures = path.join(import.meta.dirname, "../fixtures");
const pairsFile = path.join(fixtures, "training/pairs.jsonl");
const batchSize = 4;
const learningRate = 3e-4;

interface Step {
  readonly loss: number;
  readonly grad_norm: number;
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

interface Variant {
  readonly sharing: boolean;
  readonly checkpointing: boolean;
  /** Tokens of a stream: a small one spreads a batch over several backward passes. */
  readonly tokenBudget: number;
  /** Conversations of at most so many tokens become trees. */
  readonly treeTokens: number;
  /** Whether what the frozen vision tower gives is kept from step to step. */
  readonly cacheBytes: number;
}

const variants: readonly Variant[] = [
  { sharing: true, checkpointing: false, tokenBudget: 4096, treeTokens: 512, cacheBytes: 2 ** 30 },
  { sharing: true, checkpointing: true, tokenBudget: 64, treeTokens: 200, cacheBytes: 0 },
  { sharing: true, checkpointing: false, tokenBudget: 4096, treeTokens: 0, cacheBytes: 2 ** 30 },
  { sharing: true, checkpointing: true, tokenBudget: 4096, treeTokens: 0, cacheBytes: 0 },
  { sharing: true, checkpointing: true, tokenBudget: 64, treeTokens: 0, cacheBytes: 2 ** 30 },
  { sharing: false, checkpointing: false, tokenBudget: 4096, treeTokens: 0, cacheBytes: 2 ** 30 },
  { sharing: false, checkpointing: false, tokenBudget: 64, treeTokens: 0, cacheBytes: 0 },
];

describe.each(["plain", "grouped"])("checkpoint %s", (shape) => {
  const folder = path.join(fixtures, "parity", shape);
  let prepared: readonly PreparedPairs[];
  let answerTokens: AnswerTokens;

  beforeAll(async () => {
    const processor = await familyOf(folder).loadProcessor({ limits: {} });
    answerTokens = processor.answerTokens;
    const lines = readFileSync(pairsFile, "utf8").trim().split("\n");
    prepared = await Promise.all(
      lines.map(async (line, number) => {
        const read = readPreference(line, number);
        if ("error" in read) throw read.error;
        const { prefix, answers, pairs } = read.preference;
        const prompt = await processor.prepare(prefix, answers, { baseFolder: path.dirname(pairsFile) });
        return { prompt, pairs, right: [] };
      }),
    );
  });

  const batch = (step: number): PreparedPairs[] =>
    Array.from({ length: batchSize }, (_, i) => prepared[(step * batchSize + i) % prepared.length] as PreparedPairs);

  /** The steps of train.py, and the scores of the first batch after the last one. */
  function trained(train: readonly string[], weightDecay: number, variant: Variant) {
    const before = liveTensors();
    const place = placement("cpu", "float32", "owned");
    const model = RewardModel.load(folder, place);
    const parameters = trainedParameters(model.namedParameters(), model.backbone, train, false);
    for (const { stored } of parameters.values()) stored.setRequiresGrad(true);
    const settings = {
      type: "adamw",
      momentum: 0,
      weightDecay,
      betas: [0.9, 0.999],
      eps: 1e-8,
      maxGradNorm: 1,
      decayNormsAndBiases: true,
      masterWeights: "float32",
    } as const;
    const optimizer = new Optimizer(parameters, settings, alone("cpu"));
    const tower = model.backbone.vision;
    if (!tower) throw new Error("expected a vision tower");
    const vision = new VisionFeatures(tower, "cpu", {
      trained: trainedVision(parameters.keys(), model.backbone),
      patchBudget: 4096,
      cacheBytes: variant.cacheBytes,
    });
    const pass = new GroupedPass(model, vision, [], {
      ...variant,
      loss: { centerRewardsCoefficient: 0 },
      headDropout: 0,
      languageHead: undefined,
      answerTokens: { header: 2, end: 0 },
    });
    const steps = Array.from({ length: 5 }, (_, step): Step => {
      const weighed = [{ objective: pairwise, weight: 1, state: undefined }];
      const { losses, rewards } = pass.backpropagate(batch(step), weighed, 1 / batchSize, 0);
      const [chosen, rejected] = [0, 1].map((side) => rewards.map((both) => both[side] ?? Number.NaN));
      return {
        loss: (losses.pairwise ?? Number.NaN) / batchSize,
        grad_norm: optimizer.step(learningRate),
        chosen: chosen ?? [],
        rejected: rejected ?? [],
      };
    });
    const final = pass.evaluate(batch(0));
    for (const part of [vision, optimizer, model]) part.dispose();
    expect(liveTensors()).toEqual(before);
    return { steps, final };
  }

  function expectLike(fixture: string, found: ReturnType<typeof trained>): void {
    const lines = readFileSync(path.join(fixtures, "training", fixture), "utf8")
      .trim()
      .split("\n");
    const rows: unknown[] = lines.map((line) => JSON.parse(line));
    const { final } = rows.pop() as { final: number[][] };
    const expected = rows as Step[];
    expect(found.steps.length).toBe(expected.length);
    for (const [index, { loss, grad_norm, chosen, rejected }] of expected.entries()) {
      const step = found.steps[index] as Step;
      expect(Math.abs(step.loss / loss - 1), `loss of step ${index}`).toBeLessThan(1e-4);
      expect(Math.abs(step.grad_norm / grad_norm - 1), `norm of step ${index}`).toBeLessThan(1e-4);
      for (const [i, score] of [...chosen, ...rejected].entries()) {
        expect(
          Math.abs(([...step.chosen, ...step.rejected][i] ?? 9) - score),
          `score ${i} of step ${index}`,
        ).toBeLessThan(1e-4);
      }
    }
    for (const [i, score] of final.flat().entries()) {
      expect(Math.abs((found.final.flat()[i] ?? Number.NaN) - score), `final score ${i}`).toBeLessThan(1e-4);
    }
  }

  test.each(variants)(
    "merger, decoder and head: $sharing sharing, $checkpointing checkpointing, $tokenBudget tokens, trees of $treeTokens",
    (variant) => {
      expectLike(`${shape}.train.jsonl`, trained(["merger", "decoder", "head"], 0, variant));
    },
  );

  test.each(variants.slice(0, 3))(
    "everything, weight decay 0.1: $checkpointing checkpointing, $tokenBudget tokens, trees of $treeTokens",
    (variant) => {
      expectLike(`${shape}.train-all.jsonl`, trained(["vision", "merger", "decoder", "head"], 0.1, variant));
    },
  );

  const languageVariants = variants.filter(({ sharing }) => sharing);
  test.each(languageVariants)(
    "language modelling on answers: $checkpointing checkpointing, $tokenBudget tokens, trees of $treeTokens",
    async (variant) => {
      const { losses, grad_norm } = JSON.parse(
        readFileSync(path.join(fixtures, `training/${shape}.language.json`), "utf8"),
      ) as { losses: number[]; grad_norm: number };
      const place = placement("cpu", "float32", "owned");
      const model = RewardModel.load(folder, place);
      const parameters = trainedParameters(model.namedParameters(), model.backbone, ["merger", "decoder"], false);
      for (const { stored } of parameters.values()) stored.setRequiresGrad(true);
      const settings = { weightDecay: 0, betas: [0.9, 0.999], eps: 1e-8, maxGradNorm: 0 } as const;
      const optimizer = new Optimizer(
        parameters,
        { ...settings, type: "adamw", momentum: 0, decayNormsAndBiases: true, masterWeights: "float32" },
        alone("cpu"),
      );
      const tower = model.backbone.vision;
      if (!tower) throw new Error("expected a vision tower");
      const vision = new VisionFeatures(tower, "cpu", {
        trained: "merger",
        patchBudget: 4096,
        cacheBytes: variant.cacheBytes,
      });
      const pass = new GroupedPass(model, vision, [], {
        ...variant,
        loss: { centerRewardsCoefficient: 0 },
        headDropout: 0,
        languageHead: model.languageHead().weight,
        answerTokens,
      });
      const weighed = [{ objective: language, weight: 1, state: undefined }];
      const lossOf = (some: readonly PreparedPairs[], scale: number): number =>
        pass.backpropagate(some, weighed, scale, 0).losses.language ?? Number.NaN;
      const right = [{ branch: 0, weight: 1 }];
      const records = prepared.map((record) => ({ ...record, pairs: [], right }));
      for (const [index, loss] of losses.entries()) {
        expect(Math.abs(lossOf(records.slice(index, index + 1), 1) / loss - 1), `loss of record ${index}`).toBeLessThan(
          1e-4,
        );
      }
      optimizer.discard();
      expect(Math.abs(lossOf(records, 1 / records.length) / losses.reduce((sum, loss) => sum + loss) - 1)).toBeLessThan(
        1e-4,
      );
      expect(Math.abs(optimizer.step(0) / grad_norm - 1)).toBeLessThan(1e-4);
    },
  );
});

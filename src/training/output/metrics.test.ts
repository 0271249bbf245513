import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { wilsonInterval } from "../../report/statistics.ts";
import {
  bestEvaluation,
  type Evaluation,
  MetricsLog,
  readEvaluations,
  readSteps,
  type StepMetrics,
  summarise,
} from "./metrics.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vl-reward-metrics-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function metricsOf(step: number): StepMetrics {
  return {
    stage: "multimodal",
    step,
    loss: 0.69 / step,
    sums: {},
    accuracy: 0.5,
    margin: -0.125,
    gradNorm: 3,
    learningRate: 1e-5,
    pairs: 4,
    tokens: 2048,
    seconds: 1.5,
  };
}

function evaluationOf(step: number, correct = 3): Evaluation {
  const accuracy = {
    pairs: 4,
    correct,
    accuracy: correct / 4,
    interval: [0.3, 0.95],
    margin: 0.2,
    loss: 0.6,
  } as const;
  return { stage: "multimodal", step, overall: accuracy, sources: new Map([["__proto__", accuracy]]) };
}

function lines(file: string): unknown[] {
  return readFileSync(join(folder, file), "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

describe("summarise", () => {
  it("counts a tie as wrong, and pairs without a source in the whole alone", () => {
    const { overall, sources } = summarise([
      { source: "b", margin: 2, loss: 0.125 },
      { source: "a", margin: 0, loss: 0.75 },
      { source: "b", margin: -1, loss: 1.25 },
      { source: undefined, margin: 3, loss: 0.0625 },
    ]);
    expect(overall).toMatchObject({ pairs: 4, correct: 2, accuracy: 0.5, margin: 1, loss: 0.546875 });
    expect([...sources.keys()]).toEqual(["b", "a"]);
    expect(sources.get("a")).toMatchObject({ pairs: 1, correct: 0, accuracy: 0, margin: 0, loss: 0.75 });
    expect(sources.get("b")).toMatchObject({ pairs: 2, correct: 1, accuracy: 0.5, margin: 0.5, loss: 0.6875 });
  });

  it("knows nothing of no pairs", () => {
    const { overall, sources } = summarise([]);
    expect(overall).toEqual({
      pairs: 0,
      correct: 0,
      accuracy: Number.NaN,
      interval: [0, 1],
      margin: Number.NaN,
      loss: Number.NaN,
    });
    expect(sources.size).toBe(0);
  });

  // statsmodels.stats.proportion.proportion_confint(correct, pairs, 0.05, "wilson"), statsmodels 0.14
  it.each([
    [0, 5, 0, 0.43448246478317487],
    [5, 5, 0.5655175352168252, 1],
    [8, 10, 0.49016247153664183, 0.9433178485456247],
    [1, 2, 0.09453120573423068, 0.9054687942657693],
    [731, 1000, 0.7026702288645861, 0.7575618087150875],
    [66000, 77016, 0.8544743417911782, 0.8594196231736504],
  ])("gives Wilson's interval of %d in %d", (correct, pairs, low, high) => {
    const interval = wilsonInterval(correct, pairs);
    expect(interval[0]).toBeCloseTo(low, 12);
    expect(interval[1]).toBeCloseTo(high, 12);
  });
});

describe("bestEvaluation", () => {
  it("is the first of the most accurate, whatever was not a number", () => {
    const unknown = summarise([]);
    const all = [{ ...evaluationOf(1), ...unknown }, evaluationOf(2, 2), evaluationOf(3, 3), evaluationOf(4, 3)];
    expect(bestEvaluation(all)?.step).toBe(3);
    expect(bestEvaluation([])).toBeUndefined();
  });
});

describe("the log of metrics", () => {
  it("writes one snake_case line per step", () => {
    const log = MetricsLog.open(folder, { afterStep: 0 });
    log.step(metricsOf(1));
    expect(readFileSync(join(folder, "metrics.jsonl"), "utf8")).toBe(
      '{"stage":"multimodal","step":1,"loss":0.69,"accuracy":0.5,"margin":-0.125,"grad_norm":3,"learning_rate":0.00001,' +
        '"pairs":4,"tokens":2048,"seconds":1.5}\n',
    );
    log.close();
  });

  it("has a column for each sum of an objective, behind the loss, and reads them back", () => {
    const log = MetricsLog.open(folder, { afterStep: 0 });
    const steps = [
      { ...metricsOf(1), sums: { language_loss: 2.5 } },
      { ...metricsOf(2), sums: { language_loss: Number.NaN, delta: -1 }, accuracy: Number.NaN, margin: Number.NaN },
    ];
    for (const step of steps) log.step(step);
    log.close();
    expect(readFileSync(join(folder, "metrics.jsonl"), "utf8")).toBe(
      '{"stage":"multimodal","step":1,"loss":0.69,"language_loss":2.5,"accuracy":0.5,"margin":-0.125,"grad_norm":3,' +
        '"learning_rate":0.00001,"pairs":4,"tokens":2048,"seconds":1.5}\n' +
        '{"stage":"multimodal","step":2,"loss":0.345,"language_loss":null,"delta":-1,"accuracy":null,"margin":null,' +
        '"grad_norm":3,"learning_rate":0.00001,"pairs":4,"tokens":2048,"seconds":1.5}\n',
    );
    expect(readSteps(folder)).toEqual(steps);
  });

  it("writes one line per evaluation, with its sources", () => {
    const log = MetricsLog.open(folder, { afterStep: 0 });
    log.evaluation(evaluationOf(0));
    const numbers = { pairs: 4, correct: 3, accuracy: 0.75, interval: [0.3, 0.95], margin: 0.2, loss: 0.6 };
    expect(lines("evaluations.jsonl")).toEqual([
      { stage: "multimodal", step: 0, ...numbers, sources: [{ source: "__proto__", ...numbers }] },
    ]);
    log.close();
  });

  it("reads back what it wrote, what is not finite as NaN", () => {
    const log = MetricsLog.open(folder, { afterStep: 0 });
    const steps = [metricsOf(1), { ...metricsOf(2), stage: 'zwei "2"\n', loss: Number.NaN }];
    for (const step of steps) log.step(step);
    log.evaluation(evaluationOf(2));
    log.sync();
    log.close();
    expect(lines("metrics.jsonl")[1]).toMatchObject({ loss: null });
    expect(readSteps(folder)).toEqual(steps);
    expect(readEvaluations(folder)).toEqual([evaluationOf(2)]);
  });

  it("has no lines where there are no files", () => {
    expect([readSteps(folder), readEvaluations(folder)]).toEqual([[], []]);
  });

  it("cuts what an interrupted run left unfinished, and the steps that will be made again", () => {
    const first = MetricsLog.open(folder, { afterStep: 0 });
    for (const step of [1, 2, 3, 4, 5]) first.step(metricsOf(step));
    for (const step of [0, 2, 4]) first.evaluation(evaluationOf(step));
    first.close();
    appendFileSync(join(folder, "metrics.jsonl"), '{"stage":"multimodal","step":6,"lo');
    appendFileSync(join(folder, "evaluations.jsonl"), "{");
    expect(readSteps(folder).map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);

    const second = MetricsLog.open(folder, { afterStep: 3 });
    second.step(metricsOf(4));
    second.close();
    expect(lines("metrics.jsonl")).toMatchObject([{ step: 1 }, { step: 2 }, { step: 3 }, { step: 4 }]);
    expect(lines("evaluations.jsonl")).toMatchObject([{ step: 0 }, { step: 2 }]);
  });

  it("cuts only the unfinished line where all steps are kept", () => {
    const whole = '{"stage":"s","step":1,"loss":1,"accuracy":1,"margin":1,"grad_norm":1,"learning_rate":1,';
    writeFileSync(join(folder, "metrics.jsonl"), `${whole}"pairs":1,"tokens":1,"seconds":1,"ours":[]}\n${whole}`);
    MetricsLog.open(folder, { afterStep: 1 }).close();
    expect(lines("metrics.jsonl")).toMatchObject([{ step: 1, ours: [] }]);
  });

  it("begins a new run with empty files", () => {
    const first = MetricsLog.open(folder, { afterStep: 0 });
    first.step(metricsOf(1));
    first.evaluation(evaluationOf(0));
    first.close();
    MetricsLog.open(folder, { afterStep: 0 }).close();
    expect([lines("metrics.jsonl"), lines("evaluations.jsonl")]).toEqual([[], []]);
  });

  it("does not go on behind a damaged line, and leaves the file as it is", () => {
    const log = MetricsLog.open(folder, { afterStep: 0 });
    log.step(metricsOf(1));
    log.close();
    const file = join(folder, "metrics.jsonl");
    appendFileSync(file, '\u0000\u0000\n{"step": 3}\n');
    const before = readFileSync(file);
    expect(() => MetricsLog.open(folder, { afterStep: 3 })).toThrow(
      expect.objectContaining({ code: "input_unreadable", message: expect.stringContaining(`${file}, line 2:`) }),
    );
    expect(readFileSync(file)).toEqual(before);
  });
});

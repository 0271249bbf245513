/**
 * @file A run of `evaluate`: engines opened, the benchmark measured, the result and its page written. The flags are
 * command.ts's.
 */

import { existsSync, readFileSync } from "node:fs";
import { evaluationCard } from "../../benchmarks/synthetic/card.ts";
import { evaluationSchema, readEvaluation, type SyntheticEvaluation } from "../../benchmarks/synthetic/evaluation.ts";
import { type Judge, measure, questionCount } from "../../benchmarks/synthetic/measure.ts";
import { VlRewardError } from "../../errors.ts";
import { snakeCase } from "../../files/camel-case.ts";
import { writeTextDurably } from "../../files/durable-file.ts";
import { locateModel } from "../../hub/locate.ts";
import { duration } from "../../report/numbers.ts";
import { RewardEngine } from "../../reward/engine.ts";
import { libtorchVersion } from "../../torch/index.ts";
import { embeddedModel, sayUntrained } from "../embedded-model.ts";
import { LiveLine } from "../live-line.ts";

export interface SyntheticRun {
  readonly model: string;
  readonly control?: string | undefined;
  readonly questions: number;
  readonly controlQuestions: number;
  readonly sizeQuestions: number;
  readonly sizes: readonly number[];
  readonly seed: number;
  readonly output?: string | undefined;
  readonly card?: string | undefined;
  readonly dtype: "auto" | "float32" | "bfloat16";
  readonly device: string;
}

/** Rejects with the codes of a model that cannot be loaded, of a question that cannot be scored, and `output_unwritable`. */
export async function evaluateSynthetic(run: SyntheticRun): Promise<void> {
  const line = new LiveLine(process.stderr.isTTY === true);
  await using engine = await open(run.model, run, line);
  await using control = run.control === undefined ? undefined : await open(controlFolder(run.control), run, line);
  const asking = {
    control: control && judgeOf(control),
    seed: run.seed,
    questions: run.questions,
    controlQuestions: run.controlQuestions,
    questionsBySize: run.sizeQuestions,
    sizes: run.sizes,
  };
  const start = performance.now();
  let done = 0;
  const onQuestion = (): void => {
    done++;
    line.show(() => progress(done, questionCount({ ...asking, onQuestion }), (performance.now() - start) / 1000));
  };
  const measured = await measure({ ...asking, judge: judgeOf(engine), onQuestion });
  line.say(`${done.toLocaleString("en-US")} questions in ${duration((performance.now() - start) / 1000)}`);
  const { version }: { version: string } = JSON.parse(
    readFileSync(new URL("../../../package.json", import.meta.url), "utf8"),
  );
  const evaluation: SyntheticEvaluation = {
    benchmark: "synthetic",
    model: run.model,
    ...(run.control !== undefined && { control: run.control, controlQuestions: run.controlQuestions }),
    parameters: engine.info.parameters,
    seed: run.seed,
    questions: run.questions,
    questionsBySize: run.sizeQuestions,
    versions: { "vl-reward": version, torch: libtorchVersion() },
    device: engine.info.devices.join(", "),
    dtype: engine.info.dtype,
    ...measured,
  };
  const text = `${JSON.stringify(evaluationSchema.parse(rounded(snakeCase(evaluation))), null, 1)}\n`;
  if (run.output === undefined) process.stdout.write(text);
  else writeTextDurably(run.output, text);
  if (run.card !== undefined)
    writeTextDurably(run.card, evaluationCard(readEvaluation(text, run.output ?? "the result")));
}

async function open(model: string, { dtype, device }: SyntheticRun, line: LiveLine): Promise<RewardEngine> {
  const folder = await locateModel(model, {
    embedded: embeddedModel,
    onProgress: (step) => {
      if (step.kind === "notice") line.say(step.message);
      else line.download(step.done, step.total);
    },
  });
  const engine = await RewardEngine.open({ folder, dtype, device });
  if (engine.info.untrained) line.say(sayUntrained);
  return engine;
}

function controlFolder(folder: string): string {
  if (existsSync(folder)) return folder;
  throw new VlRewardError(
    "model_not_found",
    `The control ${folder} is not there; expected a model trained on blank pictures. Train it with \`npm run ` +
      "train:tiny-blind`, or leave --control away.",
  );
}

const judgeOf =
  (engine: RewardEngine): Judge =>
  (groups) =>
    engine.score(groups);

function progress(done: number, all: number, seconds: number): string {
  const left = duration((seconds * (all - done)) / done);
  return `${done.toLocaleString("en-US")} of ${all.toLocaleString("en-US")} questions, about ${left} left`;
}

/** Six decimals are more than any figure is worth, and make a file that reads and compares well. */
function rounded(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, part) => (typeof part === "number" ? Number(part.toFixed(6)) : part)));
}

/**
 * @file A run of `evaluate`: engines opened, the benchmark measured, the result and its page written. The flags are
 * command.ts's.
 */

import { existsSync, readFileSync, rmSync } from "node:fs";
import { join, parse } from "node:path";
import { evaluationCard } from "../../benchmarks/synthetic/card.ts";
import { evaluationSchema, readEvaluation, type SyntheticEvaluation } from "../../benchmarks/synthetic/evaluation.ts";
import { type Judge, type Measured, measure, questionCount } from "../../benchmarks/synthetic/measure.ts";
import { VlRewardError } from "../../errors.ts";
import { snakeCase } from "../../files/camel-case.ts";
import { writeTextDurably } from "../../files/durable-file.ts";
import { locateBase, locateModel } from "../../hub/locate.ts";
import { duration } from "../../report/numbers.ts";
import { RewardEngine } from "../../reward/engine.ts";
import { unlessAborted } from "../../tasks/in-order.ts";
import { libtorchVersion } from "../../torch/index.ts";
import { modelLookup, sayUntrained } from "../embedded-model.ts";
import { LiveLine } from "../live-line.ts";
import { checkOutput } from "../output.ts";

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

/**
 * Rejects with the codes of a model that cannot be loaded, of a question that cannot be scored, and `output_unwritable`; with
 * the signal's reason when it aborts. A category that is done is kept from then on, in a file that is marked as incomplete
 * and stands beside the output: the result of an earlier run stays until this one has its own.
 */
export async function evaluateSynthetic(run: SyntheticRun, signal: AbortSignal): Promise<void> {
  for (const file of [run.output, run.card]) if (file !== undefined) checkOutput(file);
  const line = new LiveLine(process.stderr.isTTY === true);
  await using engine = await open(run.model, run, line, signal);
  await using control =
    run.control === undefined ? undefined : await open(controlFolder(run.control), run, line, signal);
  const asking = {
    control: control && judgeOf(control, signal),
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
    line.show(() => progress(done, questionCount(asking), (performance.now() - start) / 1000));
  };
  const incomplete = run.output === undefined ? undefined : incompleteName(run.output);
  let untilNow: Measured | undefined;
  const onCategory = (found: Measured): void => {
    if (incomplete !== undefined) writeTextDurably(incomplete, textOf(run, engine, found, { incomplete: true }));
    untilNow = found;
  };
  let measured: Measured;
  try {
    measured = await measure({ ...asking, judge: judgeOf(engine, signal), onQuestion, onCategory });
  } catch (error) {
    if (untilNow && incomplete === undefined) process.stdout.write(textOf(run, engine, untilNow, { incomplete: true }));
    line.say(whatIsKept(untilNow, incomplete ?? "the result on standard output"));
    throw error;
  }
  line.say(`${done.toLocaleString("en-US")} questions in ${duration((performance.now() - start) / 1000)}`);
  const text = textOf(run, engine, measured);
  if (run.output === undefined) process.stdout.write(text);
  else writeTextDurably(run.output, text);
  if (incomplete !== undefined) rmSync(incomplete, { force: true });
  if (run.card !== undefined)
    writeTextDurably(run.card, evaluationCard(readEvaluation(text, run.output ?? "the result")));
}

function whatIsKept(measured: Measured | undefined, where: string): string {
  if (!measured) return "Broken off before a category was done: nothing is kept.";
  const count = measured.heldOut.length + measured.unseen.length;
  return `Broken off: the ${count === 1 ? "category that is" : `${count} categories that are`} done, and only they, are in ${where}.`;
}

/** evaluation.json -> evaluation.incomplete.json */
function incompleteName(output: string): string {
  const { dir, name, ext } = parse(output);
  return join(dir, `${name}.incomplete${ext}`);
}

function textOf(
  run: SyntheticRun,
  engine: RewardEngine,
  measured: Measured,
  mark: Pick<SyntheticEvaluation, "incomplete"> = {},
): string {
  const { version }: { version: string } = JSON.parse(
    readFileSync(new URL("../../../package.json", import.meta.url), "utf8"),
  );
  const evaluation: SyntheticEvaluation = {
    benchmark: "synthetic",
    ...mark,
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
  return `${JSON.stringify(evaluationSchema.parse(rounded(snakeCase(evaluation))), null, 1)}\n`;
}

async function open(
  model: string,
  { dtype, device }: SyntheticRun,
  line: LiveLine,
  signal: AbortSignal,
): Promise<RewardEngine> {
  const locating = modelLookup(line, signal);
  const folder = await locateModel(model, locating);
  const base = await locateBase(folder, undefined, locating);
  const place = { folder, ...(base !== undefined && { base }) };
  const engine = await unlessAborted(RewardEngine.open({ ...place, dtype, device }), signal);
  for (const note of engine.info.notes) line.say(note);
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
  (engine: RewardEngine, signal: AbortSignal): Judge =>
  (groups) =>
    engine.score(groups, { signal });

function progress(done: number, all: number, seconds: number): string {
  const left = duration((seconds * (all - done)) / done);
  return `${done.toLocaleString("en-US")} of ${all.toLocaleString("en-US")} questions, about ${left} left`;
}

/** Six decimals are more than any figure is worth, and make a file that reads and compares well. */
function rounded(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, part) => (typeof part === "number" ? Number(part.toFixed(6)) : part)));
}

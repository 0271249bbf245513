/**
 * @file A finished or interrupted run on one page: curves, validation by source, data, configuration, environment.
 *
 * The page is one file that asks for nothing: no script, no font, no address. It stays below 2 MB however long the run was.
 */

import { type Curve, curveChart, intervalBar, type Mark, type StageSpan, sparkline } from "../../report/chart.ts";
import { type Markup, markup } from "../../report/markup.ts";
import { byteSize, duration, grouped, percent, percentRange, short } from "../../report/numbers.ts";
import { reportStyle } from "../../report/style.ts";
import type { FileReport } from "../data/file-check.ts";
import type { Sum } from "../objectives/objective.ts";
import { type Accuracy, bestEvaluation, type Evaluation, type StepMetrics } from "./metrics.ts";

export interface Report {
  readonly name: string; // of the run
  readonly outcome: string; // one sentence: finished, or where and why it stopped
  readonly config: string; // the configuration as used, YAML
  readonly environment: ReadonlyMap<string, string>; // what -> which version or device
  readonly peakMemory: number | undefined; // bytes, of the process
  readonly data: readonly DataFile[];
  readonly steps: readonly StepMetrics[];
  readonly sums: readonly Sum[]; // that steps may have
  readonly evaluations: readonly Evaluation[];
}

/** A data file of the run and what became of its records, or a generator. */
export interface DataFile {
  readonly use: string; // the stage's name, or "validation"
  readonly path: string; // as in the configuration: the report may go elsewhere; what a generator makes
  readonly weight: number | undefined; // in its stage
  readonly report: FileReport | undefined; // undefined: a generator's
}

const sourcesDrawn = 60;
const badShown = 20;

/** -> the page, HTML */
export function reportPage(report: Report): string {
  const { name, config, environment, data, steps, evaluations } = report;
  const stages = stageSpans(steps, evaluations);
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${name}: training report</title>
<style>${reportStyle}</style>
</head>
<body>
<header><h1>${name}</h1><p>${report.outcome}</p></header>
<main>
${tiles(report)}
<section><h2>Curves</h2>
${stages.length === 0 ? markup`<p class="none">No step was made.</p>` : curves(report).map((curve) => curveChart(curve, stages))}
</section>
${validation(evaluations)}
${stageTable(steps)}
${dataTable(data)}
<section><h2>Environment</h2><table><tbody>
${[...environment].map(([what, which]) => markup`<tr><th scope="row">${what}</th><td>${which}</td></tr>\n`)}</tbody></table></section>
<section><h2>Configuration</h2><pre>\n${config}</pre></section>
</main>
</body>
</html>
`.text;
}

/** The stretches of steps of one stage. Without a step, what was evaluated. */
function stageSpans(steps: readonly StepMetrics[], evaluations: readonly Evaluation[]): StageSpan[] {
  const spans: StageSpan[] = [];
  const first = evaluations[0]?.step;
  for (const { stage, step } of steps.length > 0 ? steps : evaluations) {
    const last = spans.at(-1);
    if (last?.name === stage) spans[spans.length - 1] = { ...last, to: step };
    else spans.push({ name: stage, from: spans.length === 0 ? Math.min(step, first ?? step) : step, to: step });
  }
  return spans;
}

/** Of an objective's sum, over the steps that have it; none where no step has. */
function sumCurve(steps: readonly StepMetrics[], { name, title, about }: Sum): Curve[] {
  if (!steps.some(({ sums }) => sums[name] !== undefined)) return [];
  const points = steps.map(({ step, sums }) => ({ x: step, y: sums[name] ?? Number.NaN }));
  return [{ title, about, points, marks: [], scale: "linear", smoothed: true }];
}

function curves({ steps, sums, evaluations }: Report): Curve[] {
  const points = (value: (step: StepMetrics) => number) => steps.map((step) => ({ x: step.step, y: value(step) }));
  const marks = (value: (accuracy: Accuracy) => number) =>
    evaluations.map(({ step, overall }) => ({ x: step, y: value(overall) }));
  return [
    {
      title: "Loss",
      about: "mean over the pairs of a step",
      points: points(({ loss }) => loss),
      marks: marks(({ loss }) => loss),
      scale: "linear",
      smoothed: true,
    },
    ...sums.flatMap((sum) => sumCurve(steps, sum)),
    {
      title: "Accuracy",
      about: "share of pairs whose chosen answer scores higher",
      points: points(({ accuracy }) => accuracy),
      marks: evaluations.map(({ step, overall }) => accuracyMark(step, overall)),
      scale: "share",
      smoothed: true,
    },
    {
      title: "Margin",
      about: "score of the chosen answer less that of the rejected one",
      points: points(({ margin }) => margin),
      marks: marks(({ margin }) => margin),
      scale: "linear",
      smoothed: true,
    },
    {
      title: "Gradient norm",
      about: "before clipping",
      points: points(({ gradNorm }) => gradNorm),
      marks: [],
      scale: "logarithmic",
      smoothed: true,
    },
    {
      title: "Learning rate",
      about: "of each step",
      points: points(({ learningRate }) => learningRate),
      marks: [],
      scale: "linear",
      smoothed: false,
    },
  ];
}

function accuracyMark(step: number, { accuracy, interval }: Accuracy): Mark {
  return { x: step, y: accuracy, interval };
}

function tiles({ steps, evaluations, peakMemory }: Report): Markup {
  const { pairs, tokens, seconds } = totals(steps);
  const best = bestEvaluation(evaluations);
  const last = evaluations.at(-1);
  const shown: (readonly [what: string, value: string, more: string])[] = [
    ...(best
      ? [
          [
            "best validation accuracy",
            percent(best.overall.accuracy),
            `${intervalText(best)}, step ${best.step}`,
          ] as const,
        ]
      : []),
    ...(last && last !== best
      ? [
          [
            "last validation accuracy",
            percent(last.overall.accuracy),
            `${intervalText(last)}, step ${last.step}`,
          ] as const,
        ]
      : []),
    ["steps", grouped(steps.length), `in ${duration(seconds)}`],
    ["pairs", grouped(pairs), seconds > 0 ? `${short(pairs / seconds)} per second` : ""],
    ["tokens", grouped(tokens), seconds > 0 ? `${grouped(Math.round(tokens / seconds))} per second` : ""],
    ...(peakMemory === undefined ? [] : [["peak memory", byteSize(peakMemory), "of the process"] as const]),
  ];
  return markup`<dl class="tiles">
${shown.map(([what, value, more]) => markup`<div><dt>${what}</dt><dd>${value}<small>${more}</small></dd></div>\n`)}</dl>`;
}

function intervalText({ overall }: Evaluation): string {
  return percentRange(overall.interval);
}

function validation(evaluations: readonly Evaluation[]): Markup {
  const last = evaluations.at(-1);
  if (last === undefined) return markup``;
  const sources = [...last.sources].sort(([, a], [, b]) => b.pairs - a.pairs);
  const over = (pick: (evaluation: Evaluation) => Accuracy | undefined) =>
    evaluations.flatMap((evaluation) => {
      const accuracy = pick(evaluation);
      return accuracy ? [accuracyMark(evaluation.step, accuracy)] : [];
    });
  const row = (name: string, accuracy: Accuracy, marks: readonly Mark[], drawn: boolean) => [
    name,
    grouped(accuracy.pairs),
    percent(accuracy.accuracy),
    percentRange(accuracy.interval),
    drawn ? intervalBar(accuracy.accuracy, accuracy.interval) : "",
    drawn ? sparkline(marks) : "",
    short(accuracy.margin),
    short(accuracy.loss),
  ];
  const all = over(({ overall }) => overall);
  const rows = sources.map(([name, accuracy], i) => {
    const drawn = i < sourcesDrawn;
    return row(name, accuracy, drawn ? over(({ sources }) => sources.get(name)) : [], drawn);
  });
  const columns = ["source", "pairs#", "accuracy#", "interval#", "0 to 100%", "by step", "margin#", "loss#"];
  return markup`<section><h2>Validation by source</h2>
<p>After step ${last.step}. Intervals are Wilson's at 95%; the dashed line is chance; a tie counts as wrong.</p>
${table(columns, [row("all", last.overall, all, true), ...rows])}</section>`;
}

interface Totals {
  readonly pairs: number;
  readonly tokens: number;
  readonly seconds: number;
}

function totals(steps: readonly StepMetrics[]): Totals {
  return steps.reduce<Totals>(
    (sum, { pairs, tokens, seconds }) => ({
      pairs: sum.pairs + pairs,
      tokens: sum.tokens + tokens,
      seconds: sum.seconds + seconds,
    }),
    { pairs: 0, tokens: 0, seconds: 0 },
  );
}

function stageTable(steps: readonly StepMetrics[]): Markup {
  if (steps.length === 0) return markup``;
  const stages = stageSpans(steps, []).map(({ name, from, to }) => {
    const own = steps.filter(({ step }) => step >= from && step <= to);
    const end = own.slice(-Math.max(1, Math.round(own.length / 10)));
    const { pairs, tokens, seconds } = totals(own);
    const mean = (value: (step: StepMetrics) => number) =>
      end.reduce((sum, step) => sum + value(step) * step.pairs, 0) / totals(end).pairs;
    return [
      name,
      `${from} to ${to}`,
      grouped(pairs),
      grouped(tokens),
      duration(seconds),
      short(pairs / seconds),
      short(mean(({ loss }) => loss)),
      percent(mean(({ accuracy }) => accuracy)),
    ];
  });
  const columns = ["stage", "steps#", "pairs#", "tokens#", "time#", "pairs/s#", "loss#", "accuracy#"];
  return markup`<section><h2>Stages</h2>
<p>Loss and accuracy of training are means over the pairs of the last tenth of a stage's steps. Times are those of the
steps, without validation and saving.</p>
${table(columns, stages)}</section>`;
}

function dataTable(data: readonly DataFile[]): Markup {
  if (data.length === 0) return markup``;
  const rows = data.map(({ use, path, weight, report }) => {
    if (!report) return [use, path, weight ?? "", "made", "", "", "", ""];
    const { records, usable, pairs, bad, tooLong } = report;
    const aside = [
      ...(tooLong.dropped > 0 ? [markup`<li>${grouped(tooLong.dropped)} too long</li>`] : []),
      ...(bad.count > 0 ? [markup`<li>${grouped(bad.count)} that cannot be used, first:</li>`] : []),
      ...bad.first.slice(0, badShown).map(({ line, message }) => markup`<li>line ${line}: ${message}</li>`),
    ];
    const counts = [records, usable, pairs, tooLong.cut].map(grouped);
    return [use, path, weight ?? "", ...counts, aside.length === 0 ? "none" : markup`<ul>${aside}</ul>`];
  });
  const columns = ["used for", "data", "weight#", "records#", "used#", "pairs#", "cut to length#", "set aside"];
  return markup`<section><h2>Data</h2>
${table(columns, rows)}</section>`;
}

/** @param columns their names; those that end in # hold numbers */
function table(columns: readonly string[], rows: readonly (readonly (string | number | Markup)[])[]): Markup {
  const kinds = columns.map((column) => (column.endsWith("#") ? "n" : "t"));
  const head = columns.map(
    (column, i) => markup`<th scope="col" class="${kinds[i] ?? "t"}">${column.replace(/#$/, "")}</th>`,
  );
  const line = ([first = "", ...rest]: readonly (string | number | Markup)[]) => {
    const cells = rest.map((cell, i) => markup`<td class="${kinds[i + 1] ?? "t"}">${cell}</td>`);
    return markup`<tr><th scope="row">${first}</th>${cells}</tr>\n`;
  };
  return markup`<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>
${rows.map(line)}</tbody></table></div>`;
}

/**
 * @file README.md of a finished checkpoint: what it is, what it was made from and how, how good it is, how to use it.
 *
 * Its header is what the Hugging Face hub reads. The license is left to whoever publishes the checkpoint.
 */
import { stringify } from "yaml";
import { duration, grouped, percent, percentRange, short } from "../../report/numbers.ts";
import { bestEvaluation, type Evaluation } from "./metrics.ts";
import type { DataFile } from "./report.ts";

export interface ModelCard {
  readonly name: string; // of the folder
  readonly base: BaseOfCard;
  readonly drawn: boolean; // all weights were, so that nothing of the base but its configuration is left
  readonly trained: readonly string[]; // parts or name patterns, as in the configuration
  readonly adapter: { readonly rank: number; readonly alpha: number } | undefined; // LoRA, merged into the weights
  readonly modelType: string; // as config.json has it
  readonly pythonExample: string; // of use
  readonly dtype: "float32" | "bfloat16"; // computed in
  readonly saveDtype: "float32" | "bfloat16"; // of the weights here
  readonly seed: number;
  readonly optimizer: string; // in words: "AdamW, betas 0.9 and 0.999, weight decay 0"
  readonly losses: ReadonlyMap<string, string>; // what stages minimise: names -> formulas, or words
  readonly stages: readonly StageOfCard[];
  readonly data: readonly DataFile[];
  readonly totals: { readonly pairs: number; readonly tokens: number; readonly seconds: number };
  readonly evaluations: readonly Evaluation[];
  readonly pixelLimits: { readonly minPixels: number; readonly maxPixels: number } | undefined; // none: text alone
  readonly versions: ReadonlyMap<string, string>; // what -> version: vl-reward, torch, Node.js
}

export interface BaseOfCard {
  readonly name: string; // hub id, else a folder or tiny
  readonly onHub: boolean;
  readonly commit: string | null; // of the hub's repository
  readonly fingerprint: string; // of weights, processor and tokenizer: what training began with, wherever it lay
}

export interface StageOfCard {
  readonly name: string;
  readonly steps: number;
  readonly epochs: number | undefined; // undefined where steps were given
  readonly batchSize: number; // pairs
  readonly learningRate: number; // its peak
  readonly schedule: string;
  readonly warmupRatio: number;
  readonly loss: string; // the sum of losses by name, each with its weight: "pairwise + 0.5 language"
}

/** -> the text of README.md */
export function modelCard(card: ModelCard): string {
  return `${header(card)}
# ${plain(card.name)}

A reward model (Qwen2.5-VL with a reward head): it reads a conversation with pictures, video or text and says how good its
last answer is, as one number. Only differences between answers to the same prompt mean something. Trained from
${card.drawn ? "nothing, with the configuration of " : ""}${code(card.base.name)}, with \`vl-reward train\`.

**License:** none is stated yet. Before you publish this model, add \`license:\` to the header above; the licenses of the
base model and of the data bind you.

## Score with it

    npx vl-reward score records.jsonl --model .

\`--model\` takes this folder, or its hub id once it is there.

## Load it in Python

transformers 4.51.3 and qwen_vl_utils 0.0.11; the head is stored as TRL's value head stores it:

\`\`\`python
${card.pythonExample}
\`\`\`

## Validation

${validation(card.evaluations)}

## Data

${table(["used for", "data", "weight", "records", "used", "pairs", "set aside"], card.data.map(dataRow))}

## Recipe

${table(["stage", "length", "pairs per step", "learning rate", "schedule", "warm-up", "loss"], card.stages.map(stageRow))}

${list([
  [
    "Base",
    `${code(card.base.name)}${card.base.commit === null ? "" : `, commit ${card.base.commit}`}, fingerprint ${card.base.fingerprint}`,
  ],
  [
    "Trained",
    `${card.trained.map(code).join(", ")}${card.adapter ? `, through LoRA of rank ${card.adapter.rank}, alpha ${short(card.adapter.alpha)}, merged` : ""}`,
  ],
  ...[...card.losses].map(([name, formula]) => [`Loss ${code(name)}`, plain(formula)] as const),
  ["Optimizer", plain(card.optimizer)],
  ["Precision", `computed in ${card.dtype}, saved in ${card.saveDtype}`],
  ...(card.pixelLimits
    ? [
        [
          "Pixels of a picture",
          `${grouped(card.pixelLimits.minPixels)} to ${grouped(card.pixelLimits.maxPixels)}`,
        ] as const,
      ]
    : []),
  ["Seed", String(card.seed)],
  [
    "Trained on",
    `${grouped(card.totals.pairs)} pairs, ${grouped(card.totals.tokens)} tokens, in ${duration(card.totals.seconds)}`,
  ],
  ["Versions", [...card.versions].map(([what, version]) => plain(`${what} ${version}`)).join(", ")],
])}
`;
}

function header(card: ModelCard): string {
  const { base } = card;
  const known = {
    library_name: "vl-reward",
    ...(base.onHub && { base_model: base.name.replace(/@.*/, ""), base_model_relation: "finetune" }),
    ...(base.onHub && base.commit !== null && { base_model_revision: base.commit }),
    tags: ["reward-model", "preference", ...(card.pixelLimits ? ["multimodal"] : []), card.modelType],
    metrics: ["accuracy"],
  };
  return `---\n${stringify(known)}# license: yours to choose\n---\n`;
}

function validation(evaluations: readonly Evaluation[]): string {
  const last = evaluations.at(-1);
  const best = bestEvaluation(evaluations);
  if (last === undefined) return "No validation set was given.";
  const row = (what: string, { pairs, accuracy, interval, margin, loss }: Evaluation["overall"]) => [
    what,
    grouped(pairs),
    percent(accuracy),
    percentRange(interval),
    short(margin),
    short(loss),
  ];
  const rows = [
    row(`last, step ${last.step}`, last.overall),
    ...[...last.sources].map(([source, accuracy]) => row(`last, ${code(source)}`, accuracy)),
    ...(best && best !== last ? [row(`best, step ${best.step}`, best.overall)] : []),
  ];
  return `The share of pairs whose chosen answer scores higher; a tie is wrong. Intervals are Wilson's at 95%.

${table(["", "pairs", "accuracy", "interval", "margin", "loss"], rows)}`;
}

function dataRow({ use, path, weight, report }: DataFile): string[] {
  const { records = 0, usable = 0, pairs = 0 } = report ?? {};
  const counts = report ? [records, usable, pairs, records - usable].map(grouped) : ["made", "", "", ""];
  return [plain(use), code(path), weight === undefined ? "" : String(weight), ...counts];
}

function stageRow(stage: StageOfCard): string[] {
  const { name, steps, epochs, batchSize, learningRate, schedule, warmupRatio, loss } = stage;
  const length = `${epochs === undefined ? "" : `${short(epochs)} epoch${epochs === 1 ? "" : "s"}, `}${grouped(steps)} steps`;
  return [plain(name), length, grouped(batchSize), short(learningRate), schedule, percent(warmupRatio), plain(loss)];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function list(rows: readonly (readonly [what: string, value: string])[]): string {
  return rows.map(([what, value]) => `- ${what}: ${value}`).join("\n");
}

/** A text of the user's, on one line, without a meaning in Markdown. */
function plain(text: string): string {
  return text.replace(/\s+/g, " ").replace(/[\\`*_{}[\]<>#|~!&]/g, "\\$&");
}

/** As code, also within a table: the fence is longer than any run of backticks in it. */
function code(text: string): string {
  const line = text.replace(/\s+/g, " ").replaceAll("|", "\\|");
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  const room = longest > 0 ? " " : "";
  return `${fence}${room}${line}${room}${fence}`;
}

/** @file A page about what was measured: what a model can and cannot judge. The embedded model's README.md is one. */
import { stringify } from "yaml";
import { grouped, percent, percentRange } from "../../report/numbers.ts";
import type { Category, DocumentKind } from "../../synthetic/question.ts";
import { type CategoryResult, kindOf, meanOf, type SyntheticEvaluation, supportedFrom } from "./evaluation.ts";

const kinds: Readonly<Record<DocumentKind, string>> = {
  scene: "scenes of shapes",
  crowd: "counting",
  chart: "bar charts",
  writing: "writing",
  text: "texts, no picture",
};

const asks: Readonly<Record<Category, string>> = {
  colour: "the colour of an object",
  shape: "the shape of an object",
  where: "the place of an object",
  at: "which object is at a place",
  exists: "whether there is such an object",
  relation: "left of, right of, above, below",
  changed: "a description with an object dropped or added",
  caption: "a description with one fact wrong",
  "caption-places": "the same, with places",
  count: "how many objects",
  "count-kind": "how many of a colour or a shape",
  bars: "how many bars",
  "bar-colour": "the colour of a bar",
  tallest: "the tallest bar",
  value: "the value of a bar",
  "chart-caption": "a description of all bars",
  letter: "which letter",
  digit: "which digit",
  word: "which word",
  number: "which number",
  says: "whether it says so",
  ink: "the colour of the text",
  sum: "sums up to 40",
  larger: "the largest or smallest of four numbers",
  format: "the form that was asked for",
  "on-topic": "the topic that was asked for",
  copy: "words repeated in order",
};

/** -> a page in Markdown; for the embedded model it is its README.md, and says what it is as well */
export function evaluationCard(evaluation: SyntheticEvaluation): string {
  const { heldOut, unseen, calibration, seed, questions } = evaluation;
  const embedded = evaluation.model === "tiny";
  const size = heldOut[0]?.sizes[0]?.size;
  const measured = `## What it can judge

Pairs of a right answer and a wrong one that differ in one fact, on ${grouped(questions)} documents of each category that training never saw
(split held-out, the hardest level, ${size} pixels a side, seed ${seed}). "Best of" is how often the right answer is first among up to
eight; ${blind(evaluation)}.

${heldOutTable(heldOut)}

Means: ${means(heldOut)}.

${unsupported(heldOut)}

## Combinations it never saw

Eight of the 48 combinations of colour and shape are neither drawn nor named where the generator is asked for training data. Of
questions about them (split unseen) it gets these right. A blind model can win here by preferring names it has never read, so
look at both.

${unseenTable(unseen)}

## Size of the picture

The same questions at other sizes: accuracy, and the difference to ${size} pixels in points (interval at 95%), ${grouped(evaluation.questionsBySize)} of each category.

${sizeTable(heldOut)}

## What a margin means

How often the answer with the higher score is the right one, by how much higher it is, over all held-out pairs. Were scores
log odds, it would be the last column. A margin of about 1 (0.8 to 1.2) is right in ${percent(calibration.nearOne.accuracy)} of ${grouped(calibration.nearOne.count)} pairs
(${percentRange(calibration.nearOne.interval)}); sigmoid(1) is 73.1%. The expected calibration error is ${percent(calibration.error)}.

${calibrationTable(evaluation)}`;
  const versions = Object.entries(evaluation.versions).map(([what, version]) => `${what} ${version}`);
  const how = `${versions.join(", ")}, ${evaluation.device}, ${evaluation.dtype}. Intervals are Wilson's at 95%; a tie is wrong.`;
  const parts = embedded
    ? [header, whatItIs(evaluation), measured, limits, `${recipe}\n\n${how} Tokenizer: \`models/tiny-init/README.md\`.`]
    : [
        `# ${evaluation.model}: what it judges right on made-up documents`,
        measured,
        `## How this was measured\n\n${how}`,
      ];
  return `${parts.join("\n\n")}\n`;
}

const header = `---\n${stringify({
  library_name: "transformers",
  license: "apache-2.0",
  pipeline_tag: "image-text-to-text",
  tags: ["reward-model", "qwen2_5_vl", "vl-reward"],
})}---`;

const whatItIs = ({ parameters }: SyntheticEvaluation): string => `# The embedded model

Qwen2.5-VL's architecture with ${(parameters / 1e6).toFixed(1)} million parameters in bfloat16, a vocabulary of 1,024 tokens, a reward head and
a tied language head. It was trained from nothing by this project's own \`npm run train:tiny\` (\`recipes/tiny.yaml\`), on
pictures and texts that this project draws, and it is there to show that all of it works: offline, in seconds, on any laptop.

    npx vl-reward score examples/examples.jsonl     # \`--model tiny\` is the default

It loads in transformers 4.51.3 too, with equal scores. Every picture is brought to about 168 x 168 pixels first
(\`preprocessor_config.json\`), so that it judges what a picture shows and not how large it is.

**Only its own world means anything to it**: the questions below, in a few hundred words of English. What it says of photographs,
of other questions, of longer answers means nothing. For those, take a real one: \`--model Skywork/Skywork-VL-Reward-7B\`.`;

const limits = `## What it cannot do

- Photographs, video, other languages, questions in other words than its generator's.
- Say how good an answer is in itself: only differences between answers to the same prompt mean something.
- Wrong answers that differ in more than one fact, in length or in style were not measured.
- Generate: its language head learnt to give right answers, but nothing here measures what it writes.`;

const recipe = `## How this was made

    npm run train:tiny          # build/runs/tiny: the model, from nothing
    npm run train:tiny-blind    # its control, without pictures
    npm run eval:tiny           # evaluation.json and this page, from the model in this folder`;

/** Also for a measurement without a control, whose column is empty. */
function blind({ controlQuestions }: SyntheticEvaluation): string {
  const asked =
    controlQuestions === undefined ? "not measured here" : `on ${grouped(controlQuestions)} pairs with a blank picture`;
  return `"blind" a model trained on blank pictures, ${asked}: what the texts give away by themselves`;
}

type Row = readonly (string | number)[];

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

const points = (share: number): string => (100 * share).toFixed(1);
const range = ([low, high]: readonly [number, number]): string => `${points(low)} to ${points(high)}`;
const name = ({ category }: Pick<CategoryResult, "category">): string => `\`${category}\`: ${asks[category]}`;
const bestOf = ({ choice }: Pick<CategoryResult, "choice">): string =>
  `${points(choice.accuracy)} (chance ${points(choice.chance)})`;
const isSupported = ({ pairs }: CategoryResult): boolean => pairs.accuracy >= supportedFrom;

function heldOutTable(heldOut: readonly CategoryResult[]): string {
  const rows = (Object.keys(kinds) as DocumentKind[]).flatMap((kind) => [
    [`**${kinds[kind]}**`, "", "", "", ""],
    ...heldOut
      .filter(({ category }) => kindOf(category) === kind)
      .map((one) => [
        `${name(one)}${isSupported(one) ? "" : " (not supported)"}`,
        points(one.pairs.accuracy),
        range(one.pairs.interval),
        bestOf(one),
        one.control ? points(one.control.accuracy) : "",
      ]),
  ]);
  return table(["held-out pairs, %", "right", "95% interval", "best of", "blind"], rows);
}

function means(heldOut: readonly CategoryResult[]): string {
  return (Object.keys(kinds) as DocumentKind[])
    .map((kind) => `${kinds[kind]} ${percent(meanOf(heldOut, kind))}`)
    .join(", ");
}

function unsupported(heldOut: readonly CategoryResult[]): string {
  const names = heldOut.filter((one) => !isSupported(one)).map(({ category }) => `\`${category}\``);
  if (names.length === 0) return `No category is below ${percent(supportedFrom)}.`;
  return `**Not supported**, because right in less than ${percent(supportedFrom)} of pairs: ${names.join(", ")}.`;
}

function unseenTable(unseen: SyntheticEvaluation["unseen"]): string {
  const rows = unseen.map((one) => [
    name(one),
    points(one.pairs.accuracy),
    range(one.pairs.interval),
    bestOf(one),
    one.control ? points(one.control.accuracy) : "",
  ]);
  const mean = points(meanOf(unseen, "scene"));
  return table(
    ["unseen combinations, %", "right", "95% interval", "best of", "blind"],
    [...rows, ["mean", mean, "", "", ""]],
  );
}

function sizeTable(heldOut: readonly CategoryResult[]): string {
  const measured = heldOut.filter(({ sizes }) => sizes.length > 0);
  const [first, ...others] = measured[0]?.sizes ?? [];
  const rows = measured.map(({ category, sizes: [base, ...rest] }) => [
    `\`${category}\``,
    points(base?.accuracy ?? 0),
    ...rest.map(
      ({ difference }) =>
        `${signed(difference.mean)} (${signed(difference.interval[0])} to ${signed(difference.interval[1])})`,
    ),
  ]);
  return table(["", `${first?.size ?? ""} px, %`, ...others.map(({ size }) => `${size} px`)], rows);
}

const signed = (share: number): string => `${share < 0 ? "" : "+"}${points(share)}`;

function calibrationTable({ calibration }: SyntheticEvaluation): string {
  const rows = calibration.bins.map((bin) => [
    bin.to === undefined ? `${bin.from} and more` : `${bin.from} to ${bin.to}`,
    grouped(bin.count),
    points(bin.accuracy),
    range(bin.interval),
    points(bin.expected),
  ]);
  return table(["margin", "pairs", "right, %", "95% interval", "as log odds"], rows);
}

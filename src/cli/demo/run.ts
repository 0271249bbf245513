/**
 * @file What `vl-reward demo` does: has the embedded model judge the shipped examples and shows each picture, its question and
 * the answers by rank, with a mark on the right one.
 */
import { readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import type { EngineInfo } from "../../engine/threads/messages.ts";
import { locateModel } from "../../hub/locate.ts";
import { decodeImage } from "../../media/image.ts";
import { RewardEngine } from "../../reward/engine.ts";
import { embeddedModel, sayUntrained } from "../embedded-model.ts";
import { wrapped } from "../wrapped-text.ts";
import { exampleFolder, isRight, type JudgedExample, judgeExamples } from "./judged-examples.ts";
import { colourDepth, terminalPicture } from "./terminal-picture.ts";

/** Rejects with the codes of a model that cannot be loaded. */
export async function demo(): Promise<void> {
  await using engine = await RewardEngine.open({
    folder: await locateModel("tiny", { embedded: embeddedModel }),
    dtype: "float32",
    device: "auto",
  });
  if (engine.info.untrained) process.stderr.write(`${sayUntrained}\n`);
  const examples = await judgeExamples(engine);
  const screen = screenOf(process.stdout);
  for (const example of examples) process.stdout.write(`${(await shown(example, screen)).join("\n")}\n\n`);
  process.stdout.write(`${wrapped(outcome(examples), screen.columns).join("\n")}\n\n${about(engine.info, screen)}`);
}

interface Screen {
  readonly columns: number;
  /** Bits of a colour; 1 is none. */
  readonly depth: number;
}

function screenOf({ isTTY, columns }: NodeJS.WriteStream): Screen {
  return { columns: Math.min(120, Math.max(60, columns || 80)), depth: colourDepth(isTTY, process.env) };
}

const pictureColumns = 24;
const gap = "  ";

/** The lines of one example: its picture on the left where the screen has the colours for it, else the picture's name. */
async function shown(example: JudgedExample, screen: Screen): Promise<string[]> {
  const { picture } = example;
  if (picture === undefined || screen.depth < 8) {
    return described(example, picture && basename(picture), screen, screen.columns);
  }
  const image = await decodeImage(readFileSync(picture), picture);
  const left = terminalPicture(image, pictureColumns, screen.depth >= 24 ? 24 : 8);
  const right = described(example, undefined, screen, screen.columns - pictureColumns - gap.length);
  const blank = " ".repeat(pictureColumns);
  return Array.from({ length: Math.max(left.length, right.length) }, (_, row) =>
    `${left[row] ?? blank}${gap}${right[row] ?? ""}`.trimEnd(),
  );
}

/** @param file named beside the example's id */
function described(example: JudgedExample, file: string | undefined, { depth }: Screen, width: number): string[] {
  const paint = (code: number, text: string) => (depth > 1 ? `\x1b[${code}m${text}\x1b[0m` : text);
  const [bold, red, green] = [1, 31, 32];
  const answers = example.answers.flatMap(({ text, score, right }) => {
    const mark = right ? paint(green, "✓") : paint(red, "✗");
    const opening = `${score.toFixed(3).padStart(7)}  `;
    const lines = wrapped(text, width - 2 - opening.length);
    return lines.map((line, at) =>
      at === 0 ? `${mark} ${opening}${line}` : `${" ".repeat(2 + opening.length)}${line}`,
    );
  });
  return [
    file === undefined ? example.id : `${example.id} (${file})`,
    ...wrapped(example.question, width).map((line) => paint(bold, line)),
    ...answers,
    "",
    isRight(example) ? "The model's choice is right." : "The model's choice is wrong.",
  ];
}

function outcome(examples: readonly JudgedExample[]): string {
  const wrong = examples.filter((example) => !isRight(example)).map(({ id }) => id);
  const count = `${examples.length - wrong.length} of ${examples.length} right`;
  if (wrong.length === 0) return `${count}.`;
  const names = new Intl.ListFormat("en-GB").format(wrong);
  return `${count}; the ✗ at the top of ${names} ${wrong.length === 1 ? "is its error" : "are its errors"}.`;
}

function about({ parameters, untrained }: EngineInfo, { columns }: Screen): string {
  const here = (path: string) => relative(process.cwd(), path);
  const origin = untrained ? "with random weights" : "trained from nothing by this project on pictures like these";
  const model =
    `The model has Qwen2.5-VL's architecture and ${(parameters / 1e6).toFixed(1)} million parameters, ${origin}: ` +
    `${here(join(embeddedModel, "README.md"))} says what it can judge. A real one (17 GB, downloaded at the first use) on photographs:`;
  const command =
    `node ${here(process.argv[1] ?? "vl-reward")} score ${here(join(exampleFolder, "photographs.jsonl"))} ` +
    "--model Skywork/Skywork-VL-Reward-7B --dtype bfloat16";
  return `${wrapped(model, columns).join("\n")}\n  ${command}\n`;
}

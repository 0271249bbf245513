/**
 * @file Draws docs/first-impression.svg: the examples as the embedded model judges them now.
 *
 *     node examples/make-figure.mjs
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** @typedef {import("../src/cli/demo/judged-examples.ts").JudgedExample} JudgedExample */

/** @type {typeof import("../src/reward/engine.ts")} */
const { RewardEngine } = await import(new URL("../dist/reward/engine.js", import.meta.url).href);
/** @type {typeof import("../src/cli/demo/judged-examples.ts")} */
const { isRight, judgeExamples } = await import(new URL("../dist/cli/demo/judged-examples.js", import.meta.url).href);
/** @type {typeof import("../src/cli/wrapped-text.ts")} */
const { wrapped } = await import(new URL("../dist/cli/wrapped-text.js", import.meta.url).href);

const folder = fileURLToPath(new URL("../models/tiny/", import.meta.url));
const engine = await RewardEngine.open({ folder, dtype: "float32", device: "cpu" });
const examples = await judgeExamples(engine);
const { parameters } = engine.info;
await engine.close();

// Lengths in pixels.
const card = { width: 450, gap: 14, margin: 14, side: 128 };
const line = 17;
const [ink, grey, green, red] = ["#1f2328", "#59636e", "#1a7f37", "#cf222e"];

const columns = [card.gap, card.gap]; // how far down each is filled
const cards = examples.map((example) => {
  const column = (columns[0] ?? 0) <= (columns[1] ?? 0) ? 0 : 1;
  const top = columns[column] ?? 0;
  const { height, content } = drawn(example);
  columns[column] = top + height + card.gap;
  return `<g transform="translate(${card.gap + column * (card.width + card.gap)},${top})">${content}</g>`;
});

const right = examples.filter(isRight).length;
const footer =
  `${right} of ${examples.length} right: the embedded model, ${(parameters / 1e6).toFixed(1)} million parameters. ` +
  "Its score decides the order; ✓ marks the right answer.";
const width = 2 * card.width + 3 * card.gap;
const height = Math.max(...columns) + line + card.gap;
const svg = [
  `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    'font-family="Helvetica, Arial, sans-serif" font-size="13">',
  "<title>Pictures with questions, the answers ranked by the embedded model, and which one is right</title>",
  `<rect width="${width}" height="${height}" rx="8" fill="#ffffff"/>`,
  ...cards,
  written(card.gap, height - card.gap, footer, `fill="${ink}" font-weight="bold"`),
  "</svg>",
];
writeFileSync(new URL("../docs/first-impression.svg", import.meta.url), `${svg.join("\n")}\n`);

/**
 * One example: its picture on the left, the question and the ranked answers on the right, in a frame that is green where the
 * model's choice is right.
 *
 * @param {JudgedExample} example
 */
function drawn(example) {
  const left = example.picture === undefined ? card.margin : card.side + 2 * card.margin;
  const [score, text] = [left + 58, left + 68];
  /** @type {string[]} */
  const content = [];
  let y = card.margin + 11;
  for (const words of wrapped(example.question, fitting(card.width - left - card.margin, 8.3))) {
    content.push(written(left, y, words, `fill="${ink}" font-weight="bold"`));
    y += line;
  }
  y += 5;
  for (const answer of example.answers) {
    const [mark, colour] = answer.right ? ["✓", green] : ["✗", red];
    content.push(written(left, y, mark, `fill="${colour}" font-weight="bold"`));
    content.push(written(score, y, answer.score.toFixed(2), `fill="${grey}" text-anchor="end"`));
    for (const words of wrapped(answer.text, fitting(card.width - text - card.margin, 7))) {
      content.push(written(text, y, words, `fill="${answer.right ? ink : grey}"`));
      y += line;
    }
    y += 3;
  }
  if (example.picture !== undefined) {
    const png = readFileSync(example.picture).toString("base64");
    const place = `x="${card.margin}" y="${card.margin}" width="${card.side}" height="${card.side}"`;
    content.push(`<image ${place} href="data:image/png;base64,${png}"/>`);
    y = Math.max(y, card.side + 2 * card.margin);
  }
  const frame = `rx="6" fill="none" stroke="${isRight(example) ? green : red}" stroke-width="1.5"`;
  content.push(`<rect width="${card.width}" height="${y}" ${frame}/>`);
  return { height: y, content: content.join("") };
}

/**
 * How many characters fit into so many pixels: the widest fonts that stand in for Helvetica take about 7 and, bold, 8.
 *
 * @param {number} pixels
 * @param {number} each
 */
function fitting(pixels, each) {
  return Math.floor(pixels / each);
}

/** @param {number} x @param {number} y @param {string} text @param {string} look */
function written(x, y, text, look) {
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}" ${look}>${escaped}</text>`;
}

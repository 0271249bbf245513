/**
 * @file Makes examples.jsonl and its pictures, from documents that the embedded model was not trained on:
 *
 *     node examples/make-examples.mjs [FOLDER]     # default: this folder
 *
 * The questions are taken by a rule that knows nothing of any model: of the documents of `vl-reward synth --size 224`
 * (held-out, seed 1, level 3), for each category below the first one that asks for it.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** @type {typeof import("../src/synthetic/document.ts")} */
const { syntheticDocument } = await import(new URL("../dist/synthetic/document.js", import.meta.url).href);
/** @type {typeof import("../src/synthetic/preference.ts")} */
const { promptOf, shuffledQuestion } = await import(new URL("../dist/synthetic/preference.js", import.meta.url).href);
/** @type {typeof import("../src/synthetic/png.ts")} */
const { pngOf } = await import(new URL("../dist/synthetic/png.js", import.meta.url).href);

const folder = process.argv[2] ?? fileURLToPath(new URL(".", import.meta.url));
const categories = ["caption", "where", "colour", "count", "value", "letter", "larger"];

mkdirSync(join(folder, "pictures"), { recursive: true });
/** @type {Map<string, number>} */
const named = new Map();
const records = categories.map((category) => {
  const { document, asked } = first(category);
  const { kind } = document.facts;
  named.set(kind, (named.get(kind) ?? 0) + 1);
  const id = `${kind}-${named.get(kind)}`;
  if (document.picture) writeFileSync(join(folder, "pictures", `${id}.png`), pngOf(document.picture));
  const messages = [promptOf(asked.question, document.picture && `pictures/${id}.png`)];
  return { id, source: category, messages, responses: asked.answers, right: asked.right };
});
writeFileSync(join(folder, "examples.jsonl"), records.map((record) => `${JSON.stringify(record)}\n`).join(""));

/** @param {string} category */
function first(category) {
  for (let index = 0; ; index++) {
    const document = syntheticDocument({ seed: 1, index, split: "held-out", level: 3, size: 224 });
    const at = document.questions.findIndex((question) => question.category === category);
    if (at >= 0) return { document, asked: shuffledQuestion(document, at) };
  }
}

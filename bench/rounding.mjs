/**
 * @file By how much a score differs with what it is computed beside, where the arithmetic rounds differently: in bfloat16
 * on a CPU, and on a GPU. In float32 on a CPU it does not differ by a bit, which this shows as well.
 *
 *     node bench/rounding.mjs MODEL [--groups 64] [--device auto]
 *
 * The groups are the mixed ones of workloads.mjs. Each precision scores them together, alone (each answer in a pass of its
 * own, nothing cached), in reverse order, in small and in large passes, and once more from the caches; the differences are
 * from the first of these, in units of the score.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { readGroups } from "./groups.mjs";
import { makeWorkloads } from "./workloads.mjs";

/** @typedef {import("../src/models/prompt.ts").GroupPrompt} GroupPrompt */
/** @typedef {Partial<import("../src/engine/pass/pass.ts").ComputeOptions>} Options */

/** @type {typeof import("../src/models/families.ts")} */
const { familyOf } = await import(new URL("../dist/models/families.js", import.meta.url).href);
/** @type {typeof import("../src/engine/pass/pass.ts")} */
const { PassRunner } = await import(new URL("../dist/engine/pass/pass.js", import.meta.url).href);
/** @type {typeof import("../src/tokenizer/tokenizer.ts")} */
const { Tokenizer } = await import(new URL("../dist/tokenizer/tokenizer.js", import.meta.url).href);

const { values: flags, positionals } = parseArgs({
  options: { groups: { type: "string", default: "64" }, device: { type: "string", default: "auto" } },
  allowPositionals: true,
});
const [folder] = positionals;
if (folder === undefined) throw new Error("expected the folder of a checkpoint");

const groups = await preparedGroups(folder, Number(flags.groups));
/** @type {Options} */
const uncached = { featureCacheBytes: 0, prefixCacheBytes: 0 };
const precisions = /** @type {const} */ (["float32", "bfloat16"]);
const table = new Table({ head: ["", "largest", "root mean square"], style: { head: [], border: [] } });
/** @type {Record<string, number[]>} */
const together = {};
for (const dtype of precisions) {
  const first = inRunner(dtype, {}, (scorer) => scorer.score(groups)).flat();
  together[dtype] = first;
  const ways = {
    alone: inRunner(dtype, uncached, (scorer) =>
      groups.map((group) => group.branches.map((branch) => scorer.score([{ ...group, branches: [branch] }])[0]?.[0])),
    ),
    "in reverse order": inRunner(dtype, {}, (scorer) => scorer.score(groups.toReversed()).toReversed()),
    "in passes of 512 tokens": inRunner(dtype, { tokenBudget: 512 }, (scorer) => scorer.score(groups)),
    "in passes of 8192 tokens": inRunner(dtype, { tokenBudget: 8192 }, (scorer) => scorer.score(groups)),
    "from the caches": inRunner(dtype, {}, (scorer) => scorer.score(groups) && scorer.score(groups)),
  };
  for (const [way, scores] of Object.entries(ways))
    table.push([`${dtype}, ${way}`, ...differences(scores.flat(), first)]);
}
const { float32 = [], bfloat16 = [] } = together;
table.push(["bfloat16 from float32", ...differences(bfloat16, float32)]);
console.log(table.toString());
console.log(`${float32.length} scores in ${groups.length} groups; standard deviation ${deviation(float32).toFixed(3)}`);

/**
 * @param {string} model
 * @param {number} count
 * @returns {Promise<GroupPrompt[]>}
 */
async function preparedGroups(model, count) {
  const processor = await familyOf(model).loadProcessor({ limits: {} });
  const tokenizer = await Tokenizer.load(model);
  const workloads = makeWorkloads({ countTokens: (text) => tokenizer.encodeText(text).length, photo: undefined });
  const records = workloads.find(({ name }) => name === "64 mixed")?.records.slice(0, count) ?? [];
  const temporary = mkdtempSync(join(tmpdir(), "rounding-"));
  try {
    const file = join(temporary, "records.jsonl");
    writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    const read = readGroups(file);
    return await Promise.all(read.map(({ prefix, branches, ...rest }) => processor.prepare(prefix, branches, rest)));
  } finally {
    rmSync(temporary, { recursive: true });
  }
}

/**
 * @template T
 * @param {"float32" | "bfloat16"} dtype
 * @param {Options} options
 * @param {(scorer: ReturnType<typeof PassRunner.load>) => T} run
 */
function inRunner(dtype, options, run) {
  const scorer = PassRunner.load({ folder: folder ?? "", dtype, device: flags.device, ...options });
  try {
    return run(scorer);
  } finally {
    scorer.dispose();
  }
}

/**
 * @param {readonly (number | undefined)[]} scores
 * @param {readonly number[]} from
 */
function differences(scores, from) {
  const all = from.map((score, index) => Math.abs((scores[index] ?? Number.NaN) - score));
  const meanSquare = all.reduce((sum, difference) => sum + difference ** 2, 0) / all.length;
  return [Math.max(...all), Math.sqrt(meanSquare)].map((value) => (value === 0 ? "0" : value.toExponential(1)));
}

/** @param {readonly number[]} values */
function deviation(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

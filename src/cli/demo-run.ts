/**
 * @file What `vl-reward demo` does: scores examples/examples.jsonl and prints the answers by rank.
 */

import { createReadStream, readFileSync } from "node:fs";
import { basename, dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { locateModel } from "../checkpoint/locate.ts";
import { readLines } from "../data/json-lines.ts";
import { type CandidatesRecord, readRecord } from "../data/record.ts";
import type { Result } from "../data/result.ts";
import { RewardEngine } from "../reward/engine.ts";
import { embeddedModel, sayUntrained } from "./embedded-model.ts";
import { scoreRecords } from "./score-records.ts";

const examples = fileURLToPath(new URL("../../examples/examples.jsonl", import.meta.url));

/** Rejects with the codes of a model that cannot be loaded. */
export async function demo(): Promise<void> {
  await using engine = await RewardEngine.open({
    folder: await locateModel("tiny", { embedded: embeddedModel }),
    dtype: "float32",
    device: "auto",
  });
  if (engine.info.untrained) process.stderr.write(`${sayUntrained}\n`);

  const records = readFileSync(examples, "utf8").trimEnd().split("\n").map(readExample);
  const results: Result[] = [];
  const never = new AbortController().signal;
  await scoreRecords(readLines(createReadStream(examples)), engine, dirname(examples), never, (result) => {
    results.push(result);
  });

  process.stdout.write(`${table(records, results, process.stdout.columns ?? 100)}\n\n`);
  const here = (path: string) => relative(process.cwd(), path);
  const command = `  node ${here(process.argv[1] ?? "vl-reward")} score ${here(examples)}`;
  process.stdout.write(
    "The same as JSON Lines, and with a trained model (17 GB, downloaded at the first use):\n" +
      `${command}\n${command} --model Skywork/Skywork-VL-Reward-7B --dtype bfloat16\n`,
  );
}

function readExample(line: string, number: number): CandidatesRecord {
  const read = readRecord(line, number);
  if ("error" in read) throw read.error;
  if (read.record.kind !== "candidates") throw new Error(`${examples}: line ${number} has no responses`);
  return read.record;
}

/** @param width columns of the terminal */
function table(records: readonly CandidatesRecord[], results: readonly Result[], width: number): string {
  const [picture, score, borders] = [13, 10, 5];
  const text = Math.max(30, Math.min(width, 140) - picture - score - borders);
  const question = Math.floor(text * 0.4);
  const rows = new Table({
    head: ["picture", "question", "score", "answers, best first"],
    colWidths: [picture, question, score, text - question],
    colAligns: ["left", "left", "right", "left"],
    wordWrap: true,
    style: { head: [], border: [] }, // no colours: the table reads the same in a file
  });
  records.forEach((record, index) => {
    const result = results[index];
    if (result === undefined || !("scores" in result)) throw new Error(`no scores: ${JSON.stringify(result)}`);
    const ranked = record.responses
      .map((answer, branch) => ({ answer, score: result.scores[branch] ?? Number.NaN }))
      .sort((a, b) => b.score - a.score);
    const { name, text } = asked(record);
    ranked.forEach(({ answer, score }, rank) => {
      const cells = [score.toFixed(4), `${rank + 1}. ${answer}`];
      const span = { rowSpan: ranked.length };
      rows.push(rank === 0 ? [{ content: name, ...span }, { content: text, ...span }, ...cells] : cells);
    });
  });
  return rows.toString();
}

/** The picture's file name and the text of an example's only turn. */
function asked({ messages }: CandidatesRecord): { name: string; text: string } {
  const content = messages[0]?.content ?? "";
  const parts = typeof content === "string" ? [{ type: "text" as const, text: content }] : content;
  return {
    name: parts.map((part) => (part.type === "image" ? basename(part.image) : "")).find(Boolean) ?? "(text only)",
    text: parts.map((part) => (part.type === "text" ? part.text : "")).join(""),
  };
}

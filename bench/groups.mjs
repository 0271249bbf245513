/** @file A workload's file as groups of answers, as the engine takes them. */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";

/** @typedef {import("../src/engine/group.ts").AnswerGroup} Group */

/** @type {typeof import("../src/data/record.ts")} */
const { readRecord } = await import(new URL("../dist/data/record.js", import.meta.url).href);

/**
 * @param {string} file JSON Lines; all records have responses
 * @returns {Group[]}
 */
export function readGroups(file) {
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return lines.map((line, index) => {
    const read = readRecord(line, index);
    if ("error" in read) throw read.error;
    const { record } = read;
    if (record.kind !== "candidates") throw new Error(`${file}: line ${index + 1} has no responses`);
    return {
      prefix: record.prompt,
      branches: record.answers,
      baseFolder: dirname(file),
    };
  });
}

/** @file The embedded model scores its examples as transformers 4.51.3 does (test/fixtures/embedded). */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { run } from "../cli/command.ts";

interface Scores {
  readonly id: string | number;
  readonly scores: readonly number[];
}

const linesOf = (text: string): Scores[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

test.each(["examples", "photographs"])("%s", { timeout: 60_000 }, async (name) => {
  const { code, stdout } = await run(["score", `examples/${name}.jsonl`]);
  expect(code).toBe(0);
  const [found, expected] = [linesOf(stdout), linesOf(readFileSync(`test/fixtures/embedded/${name}.jsonl`, "utf8"))];
  expect(found.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
  const largest = Math.max(...expected.flatMap(({ scores }) => scores.map(Math.abs)));
  for (const [index, { id, scores }] of expected.entries()) {
    for (const [answer, score] of scores.entries()) {
      const difference = Math.abs((found[index]?.scores[answer] ?? Number.NaN) - score);
      expect(difference / largest, `${id}, answer ${answer}`).toBeLessThan(2e-5);
    }
  }
});

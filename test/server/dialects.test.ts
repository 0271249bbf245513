/** @file Every dialect against requests and answers that were written by hand: test/fixtures/dialects/README.md. */

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { VlRewardError } from "../../src/errors.ts";
import type { Answering, Body, Scored, Task } from "../../src/server/dialects/dialect.ts";
import { dialectFor, dialects } from "../../src/server/dialects/dialects.ts";

interface Golden {
  readonly path: string;
  readonly body: Body;
  readonly tasks?: readonly Task[];
  readonly model?: string;
  readonly priority?: number;
  readonly results?: readonly Scored[];
  readonly answer?: unknown;
  readonly error?: { readonly code: string; readonly words: readonly string[] };
}

const answering: Answering = { model: "served", id: "0123abcd", created: 1_700_000_000 };
const folder = path.join(import.meta.dirname, "../fixtures/dialects");

const goldenOf = (name: string): { file: string; golden: Golden }[] =>
  readdirSync(path.join(folder, name)).map((file) => ({
    file,
    golden: JSON.parse(readFileSync(path.join(folder, name, file), "utf8")) as Golden,
  }));

/** What JSON makes of it, so that keys that are undefined count as absent. */
const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown;

const printable = (answer: unknown): unknown =>
  typeof answer === "object" && answer !== null && "bytes" in answer && answer.bytes instanceof Uint8Array
    ? { ...answer, bytes: Buffer.from(answer.bytes).toString("hex") }
    : answer;

test("every dialect has golden files, and every folder of them a dialect", () => {
  const folders = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map(({ name }) => name).sort()).toEqual(dialects.map(({ name }) => name).sort());
});

for (const { name } of dialects) {
  describe(name, () => {
    test.each(goldenOf(name))("$file", ({ golden }) => {
      if (golden.error) {
        const refusal = refusalOf(golden);
        expect(refusal.code).toBe(golden.error.code);
        for (const words of golden.error.words) expect(refusal.message).toContain(words);
        return;
      }
      const dialect = dialectFor(golden.path, golden.body);
      expect(dialect.name).toBe(name);
      const request = dialect.read(golden.body, golden.path);
      expect(asJson(request.tasks)).toEqual(golden.tasks);
      expect(request.model).toBe(golden.model);
      expect(request.priority).toBe(golden.priority);
      const answer = request.answer(golden.results ?? [], answering);
      expect(asJson(printable(answer))).toEqual(golden.answer);
    });
  });
}

/** What the dialect refuses a body with, when it reads it or when it knows the number of tokens. */
function refusalOf({ path: at, body, results = [] }: Golden): VlRewardError {
  try {
    dialectFor(at, body).read(body, at).answer(results, answering);
  } catch (error) {
    if (error instanceof VlRewardError) return error;
    throw error;
  }
  throw new Error("expected a refusal");
}

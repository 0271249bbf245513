/** @file What the synthetic generator gives as a source: a function of the seed and of numbers alone. */

import { expect, test } from "vitest";
import { camelCase } from "../../files/camel-case.ts";
import { syntheticOptions } from "../config/config-schema.ts";
import { generatedSource } from "./generators.ts";
import type { RecordSource } from "./record-source.ts";

const optionsOf = (wire: object) => camelCase(syntheticOptions.parse(wire));
const sourceOf = (wire: object, seed = 1, use: readonly (string | number)[] = ["stage", 0, 0]) =>
  generatedSource({ options: optionsOf(wire) }, seed, use).source;
const recordsOf = (source: RecordSource, documents: number) =>
  Promise.all(
    Array.from({ length: documents * source.together }, async (_, record) => (await source.read(record)).preference),
  );

test("equal seeds and places give equal records, in any order of reading; others do not", async () => {
  const records = await recordsOf(sourceOf({}), 6);
  const again = sourceOf({});
  for (let record = records.length - 1; record >= 0; record--) {
    expect((await again.read(record)).preference).toEqual(records[record]);
  }
  for (const other of [sourceOf({}, 2), sourceOf({}, 1, ["stage", 1, 0]), sourceOf({ seed: 1 })]) {
    expect(await recordsOf(other, 6)).not.toEqual(records);
  }
  const fixed = [sourceOf({ seed: 1 }), sourceOf({ seed: 1 }, 2, ["validation"])].map((source) => recordsOf(source, 6));
  expect(await fixed[0]).toEqual(await fixed[1]);
});

test("the records of a document share its picture; none has more pairs than it promises", async () => {
  const source = sourceOf({ levels: [0, 1, 2, 3] });
  const records = await recordsOf(source, 40);
  for (let document = 0; document < 40; document++) {
    const asked = records.slice(4 * document, 4 * document + 4).filter(({ pairs }) => pairs.length > 0);
    expect(asked.length).toBeGreaterThan(0);
    const pictures = asked.map(({ prefix: [turn] }) =>
      typeof turn?.content === "string" ? "" : JSON.stringify(turn?.content[0]),
    );
    expect(new Set(pictures).size).toBe(1);
    for (const { pairs } of asked) expect(pairs.length).toBeLessThanOrEqual(source.pairsOf(0));
  }
});

test("options reach the documents: sizes, weights, levels", async () => {
  const sides = (await recordsOf(sourceOf({ sizes: [56, 84], weights: { colour: 1 } }), 30)).flatMap(
    ({ prefix: [turn], source }) => {
      const part = typeof turn?.content === "string" ? undefined : turn?.content[0];
      if (part?.type !== "image") return [];
      expect(source).toBe("colour");
      const png = Buffer.from(part.image.split(",")[1] ?? "", "base64");
      return [png.readUInt32BE(16)]; // IHDR's width
    },
  );
  expect(new Set(sides)).toEqual(new Set([56, 84]));
});

test("a change of what is made changes the fingerprint, a later document or the place of a fixed seed does not", () => {
  const fingerprint = (wire: object, count?: number, use: readonly string[] = []) =>
    generatedSource({ options: optionsOf(wire), ...(count && { count }) }, 1, use).fingerprint;
  expect(fingerprint({ seed: 3 })).toBe(fingerprint({ seed: 3 }, 7, ["validation"]));
  const others = [{ seed: 4 }, { seed: 3, sizes: [140] }, { seed: 3, levels: [0] }, { seed: 3, split: "held-out" }];
  const all = [{ seed: 3 }, ...others].map((wire) => fingerprint(wire));
  expect(new Set(all).size).toBe(5);
});

test("a count is a number of documents", () => {
  const { source } = generatedSource({ options: optionsOf({}), count: 9 }, 1, []);
  expect([source.length, source.pairsOf(0), source.together]).toEqual([36, 3, 4]);
  expect(generatedSource({}, 1, []).source.length).toBe(Number.POSITIVE_INFINITY);
});

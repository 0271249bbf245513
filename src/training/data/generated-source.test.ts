import { expect, test } from "vitest";
import type { Preference } from "../../data/preference.ts";
import { GeneratedSource } from "./generated-source.ts";

const made: number[] = [];
const preference = (document: number, question: number): Preference | undefined =>
  question < 4 ? preferenceOf(document, question) : undefined;
const preferenceOf = (document: number, question: number): Preference => ({
  id: `${document}/${question}`,
  prefix: [{ role: "user", content: "?" }],
  answers: ["a", "b"].map((content) => ({ role: "assistant", content })),
  pairs: [{ chosen: 0, rejected: 1, margin: 0, weight: 1 }],
  source: undefined,
});
const generator = {
  name: "made",
  questions: 4,
  pairs: 1,
  tokens: (index: number) => 10 + index,
  document: (index: number) => {
    made.push(index);
    return index;
  },
  preference,
};

test("records are the questions of documents, made once for all that are asked of them side by side", async () => {
  const source = new GeneratedSource(generator, Number.POSITIVE_INFINITY);
  expect([source.length, source.together, source.pairsOf()]).toEqual([Number.POSITIVE_INFINITY, 4, 1]);
  const ids = await Promise.all([8, 9, 10, 11, 3].map(async (record) => (await source.read(record)).preference.id));
  expect(ids).toEqual(["2/0", "2/1", "2/2", "2/3", "0/3"]);
  expect(made).toEqual([2, 0]);
  expect(source.promptOf(8)).toBe(source.promptOf(11));
  expect(source.placeOf(10)).toBe("made, document 2, question 2");
});

test("a number of documents is that many times the questions, and no more", async () => {
  const source = new GeneratedSource(generator, 5);
  expect(source.length).toBe(20);
  await expect(source.read(20)).rejects.toThrow(RangeError);
});

test("a question that a document has not is a record without pairs", async () => {
  const source = new GeneratedSource({ ...generator, questions: 5 }, 2);
  const pairs = await Promise.all([3, 4, 5].map(async (record) => (await source.read(record)).preference.pairs.length));
  expect(pairs).toEqual([1, 0, 1]);
});

test("a document that cannot be made fails each of its records, and can be asked for again", async () => {
  let fails = true;
  const document = async (): Promise<number> => {
    if (fails) throw new Error("no memory");
    return 0;
  };
  const source = new GeneratedSource({ ...generator, document }, 1);
  await expect(source.read(0)).rejects.toThrow("no memory");
  fails = false;
  expect((await source.read(1)).preference.id).toBe("0/1");
});

import { crc32 } from "node:zlib";
import { describe, expect, it, test } from "vitest";
import { readPreference } from "../data/preference.ts";
import { categoriesOf, type DocumentSpec, syntheticDocument, syntheticTexts } from "./document.ts";
import { shuffledQuestion, syntheticPreference } from "./preference.ts";
import { type Category, categories } from "./question.ts";

const spec: DocumentSpec = { seed: 1, index: 0, split: "train", level: 3, size: 112 };

/** Made once, on x86-64 with Node 20: other machines and versions have to draw the same. */
const checksums = [
  ["train", 0, 112, "aee1120d", "8a2ff38b"],
  ["train", 1, 140, "092c3793", "9faaac85"],
  ["train", 2, 168, "48682935", "572415f5"],
  ["train", 3, 224, "3e6ef506", "9c786395"],
  ["held-out", 0, 112, "f56a4b69", "2e4aab92"],
  ["held-out", 1, 140, "3ea6ba48", "b4ab50cf"],
  ["held-out", 2, 168, "cbeb9a4f", "acfdf620"],
  ["held-out", 3, 224, "c578a6d9", "ff4a29fd"],
  ["unseen", 0, 112, "3c2faec1", "3ed2523e"],
  ["unseen", 1, 140, "c1575bd6", "227d2e75"],
  ["unseen", 2, 168, "10cd2e37", "7b3261dd"],
  ["unseen", 3, 224, "507d70ea", "5810aad3"],
] as const;

describe("documents", () => {
  test.each(checksums)(
    "of %s, level %i, %i pixels are the same everywhere, byte for byte",
    (split, level, size, ...sums) => {
      let [texts, pixels] = [0, 0];
      for (let index = 0; index < 100; index++) {
        const { questions, picture } = syntheticDocument({ ...spec, index, split, level, size });
        texts = crc32(JSON.stringify(questions), texts);
        if (picture) pixels = crc32(picture.data, pixels);
      }
      expect([texts, pixels].map((sum) => sum.toString(16).padStart(8, "0"))).toEqual(sums);
    },
  );

  it("ask the same and show the same whatever the size and however many wrong answers", () => {
    for (let index = 0; index < 200; index++) {
      const asked = (other: Partial<DocumentSpec>) => {
        const { facts, questions } = syntheticTexts({ ...spec, index, ...other });
        return { facts, questions: questions.map(({ question, right }) => ({ question, right })) };
      };
      expect(asked({ wrong: 7 })).toEqual(asked({ wrong: 3 }));
      expect(asked({ size: 224 })).toEqual(asked({}));
    }
  });

  it("give seven wrong answers where categories have so many", () => {
    const most = new Map<Category, number>();
    for (let index = 0; index < 3000; index++) {
      for (const { category, wrong } of syntheticTexts({ ...spec, index, wrong: 7 }).questions) {
        most.set(category, Math.max(most.get(category) ?? 0, wrong.length));
      }
    }
    const full = categoriesOf(3, "train").filter((category) => most.get(category) === 7);
    const few = ["shape", "exists", "relation", "count-kind", "bars", "says", "larger", "format"];
    expect(full).toEqual(categoriesOf(3, "train").filter((category) => !few.includes(category)));
  });

  it("have several questions, each of another category", () => {
    const counts: number[] = [];
    for (let index = 0; index < 2000; index++) {
      const asked = syntheticTexts({ ...spec, index }).questions.map(({ category }) => category);
      expect(new Set(asked).size).toBe(asked.length);
      counts.push(asked.length);
    }
    expect([Math.min(...counts), Math.max(...counts)]).toEqual([2, 4]);
    expect(counts.reduce((sum, count) => sum + count, 0) / counts.length).toBeGreaterThan(3);
  });
});

describe("weights", () => {
  it("say how often a category is drawn", () => {
    const counts: Record<string, number> = {};
    for (let index = 0; index < 6000; index++) {
      const [first] = syntheticTexts({ ...spec, index, weights: { where: 3, sum: 1 } }).questions;
      counts[first?.category ?? ""] = (counts[first?.category ?? ""] ?? 0) + 1;
    }
    expect(Object.keys(counts).sort()).toEqual(["sum", "where"]);
    expect(Math.abs((counts.where ?? 0) - 4500)).toBeLessThan(4 * Math.sqrt(6000 * 0.75 * 0.25));
  });

  test.each(Object.values(categories).flat())(
    "of %s alone make documents that ask for it alone, at each level that has it",
    (category) => {
      for (const level of [0, 1, 2, 3] as const) {
        if (!categoriesOf(level, "train").includes(category)) continue;
        for (let index = 0; index < 50; index++) {
          const { questions } = syntheticTexts({ ...spec, index, level, weights: { [category]: 1 } });
          expect(questions.map(({ category }) => category)).toEqual([category]);
        }
      }
    },
  );

  it("must leave something to draw", () => {
    const refused = (other: Partial<DocumentSpec>) => expect(() => syntheticTexts({ ...spec, ...other }));
    refused({ level: 0, weights: { relation: 1 } }).toThrow("no category that level 0 of train has is given a weight");
    refused({ split: "unseen", weights: { sum: 1 } }).toThrow(
      "no category that level 3 of unseen has is given a weight",
    );
  });
});

describe("questions as training data", () => {
  it("are what a line of a file with the same answers is read as", () => {
    for (let index = 0; index < 100; index++) {
      const document = syntheticDocument({ ...spec, index });
      for (const at of document.questions.keys()) {
        const { id, category, question, answers, right } = shuffledQuestion(document, at);
        const preference = syntheticPreference(document, at);
        const [prompt] = preference.prefix;
        const image = typeof prompt?.content === "string" ? undefined : prompt?.content[0];
        const text = { type: "text", text: question };
        const line = JSON.stringify({
          id,
          source: category,
          messages: [{ role: "user", content: image ? [image, text] : question }],
          responses: answers,
          scores: answers.map((_, answer) => (answer === right ? 1 : 0)),
        });
        const read = readPreference(line, 0);
        if ("error" in read) throw read.error;
        const inOrder = [...read.preference.pairs].sort((a, b) => a.rejected - b.rejected);
        expect({ ...read.preference, pairs: inOrder }).toEqual(preference);
      }
    }
  });

  it("have the right answer at each place equally often", () => {
    const counts = [0, 0, 0, 0];
    for (let index = 0; index < 4000; index++) {
      const { right } = shuffledQuestion({ ...syntheticTexts({ ...spec, index, weights: { where: 1 } }) }, 0);
      counts[right] = (counts[right] ?? 0) + 1;
    }
    const chiSquare = counts.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(chiSquare).toBeLessThan(16.3); // one in a thousand exceeds it, at 3 degrees of freedom
  });

  it("are refused where there is none", () => {
    expect(() => syntheticPreference(syntheticDocument(spec), 4)).toThrow(
      "document train-level3-1-0 has no question 4",
    );
  });
});

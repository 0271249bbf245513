/** @file The measurement, by judges whose figures are known: one that knows the truth, one that guesses, one that sees little. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { AnswerGroup } from "../../engine/group.ts";
import { VlRewardError } from "../../errors.ts";
import type { GroupResult } from "../../reward/engine.ts";
import { categoriesOf } from "../../synthetic/document.ts";
import { evaluationCard } from "./card.ts";
import { readEvaluation } from "./evaluation.ts";
import { type Judge, measure, questionCount } from "./measure.ts";

/** Answers by what is said of a group: its scores, the right answer's first. */
const judge = (scores: (group: AnswerGroup) => readonly number[]): Judge =>
  async function* (groups): AsyncGenerator<GroupResult> {
    for (const group of groups) yield { scores: scores(group), tokens: 0 };
  };
const knows = ({ branches }: AnswerGroup): number[] => branches.map((_, index) => (index === 0 ? 1 : 0));

const pictureOf = ({ prefix: [prompt] }: AnswerGroup): string | undefined => {
  const content = prompt?.content ?? "";
  const image = typeof content === "string" ? undefined : content.find((part) => part.type === "image");
  return image?.image;
};
/** As a PNG's header has it. */
const widthOf = (url: string): number => Buffer.from(url.slice(url.indexOf(",") + 1), "base64").readUInt32BE(16);

const asking = {
  seed: 5,
  questions: 6,
  controlQuestions: 8,
  questionsBySize: 4,
  sizes: [112, 168],
  onQuestion: () => {},
  onCategory: () => {},
};

describe("measure", () => {
  it("finds a judge who knows the truth right everywhere, and one without opinions nowhere", async () => {
    let asked = 0;
    const options = { ...asking, control: judge(({ branches }) => branches.map(() => 0)), onQuestion: () => asked++ };
    const { heldOut, unseen, calibration } = await measure({ ...options, judge: judge(knows) });
    expect(asked).toBe(questionCount(options));
    expect(heldOut.map(({ category }) => category)).toEqual(categoriesOf(3, "held-out"));
    expect(unseen.map(({ category }) => category)).toEqual(categoriesOf(3, "unseen"));
    for (const one of [...heldOut, ...unseen]) {
      expect(one.pairs).toMatchObject({ correct: 6, count: 6, accuracy: 1 });
      expect(one.choice).toMatchObject({ correct: 6, count: 6 });
      if (one.control) expect(one.control).toMatchObject({ correct: 0, count: 8 }); // a tie is wrong
    }
    expect(heldOut.filter(({ control }) => control === undefined).map(({ category }) => category)).toEqual([
      ...["sum", "larger", "format", "on-topic", "copy"],
    ]);
    const nearOne = calibration.bins.find(({ from }) => from === 1);
    expect(nearOne).toMatchObject({ correct: 6 * heldOut.length, count: 6 * heldOut.length });
    expect(calibration.error).toBeCloseTo(1 - 1 / (1 + Math.exp(-1)), 6);
  });

  it("asks the same at every size, and puts the difference down to it", async () => {
    const texts = new Map<number, string[]>();
    const farsighted = judge((group) => {
      const picture = pictureOf(group);
      const width = picture === undefined ? 0 : widthOf(picture);
      const text = JSON.stringify([
        group.prefix.map(({ content }) => (typeof content === "string" ? content : content.at(-1))),
        group.branches.slice(0, 2),
      ]);
      texts.set(width, [...(texts.get(width) ?? []), text]);
      return width === 168 ? knows(group).map((score) => -score) : knows(group);
    });
    const { heldOut } = await measure({ ...asking, judge: farsighted });
    for (const { category, sizes } of heldOut) {
      if (sizes.length === 0) continue;
      expect([category, sizes.map(({ size, accuracy, difference }) => [size, accuracy, difference.mean])]).toEqual([
        category,
        [
          [112, 1, 0],
          [168, 0, -1],
        ],
      ]);
    }
    for (const text of texts.get(168) ?? []) expect(texts.get(112)).toContain(text);
  });

  it("shows the control one and the same picture", async () => {
    const shown = new Set<string | undefined>();
    const control = judge((group) => {
      shown.add(pictureOf(group));
      expect(group.branches).toHaveLength(2);
      return knows(group);
    });
    const { heldOut } = await measure({ ...asking, judge: judge(knows), control });
    expect(shown.size).toBe(1);
    expect(heldOut[0]?.control?.accuracy).toBe(1);
  });

  it("ends with the error of a question that cannot be scored", async () => {
    const broken: Judge = async function* (groups): AsyncGenerator<GroupResult> {
      for (const _ of groups) yield { error: new VlRewardError("sequence_too_long", "it has too many tokens") };
    };
    await expect(measure({ ...asking, judge: broken })).rejects.toMatchObject({
      code: "sequence_too_long",
      message: "colour: it has too many tokens",
    });
  });
});

describe("the embedded model's page", () => {
  const file = "models/tiny/evaluation.json";
  const evaluation = readEvaluation(readFileSync(file, "utf8"), file);

  it("is what its figures make it", () => {
    expect(readFileSync("models/tiny/README.md", "utf8")).toBe(evaluationCard(evaluation));
  });

  it("names what is not supported: every category below 75%, and no other", () => {
    const [, named = ""] = /\*\*Not supported\*\*.*?: (.*)\./.exec(evaluationCard(evaluation)) ?? [];
    const expected = evaluation.heldOut.filter(({ pairs }) => pairs.correct / pairs.count < 0.75);
    expect(named.match(/(?<=`)[a-z-]+(?=`)/g) ?? []).toEqual(expected.map(({ category }) => category));
  });

  it("is refused where it is another file", () => {
    expect(() => readEvaluation("{}", "x.json")).toThrow("x.json is not what `vl-reward evaluate synthetic` writes");
  });
});

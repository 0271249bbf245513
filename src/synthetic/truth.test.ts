/** @file Reads questions and answers as a person would, and holds them against what the picture shows. */

import { describe, expect, it, test } from "vitest";
import { type DocumentSpec, syntheticDocument, syntheticTexts } from "./document.ts";
import { inks } from "./draw.ts";
import { places, type SceneObject, side, splits, unseenKinds } from "./world.ts";

const levels = [0, 1, 2, 3] as const;
const colour = "(red|green|blue|yellow|purple|pink|black|cyan)";
const shape = "(circle|square|triangle|star|cross|diamond)";
const atPlace = "(at the (?:top|bottom)(?: left| right)?|on the left|on the right|in the middle)";

type Facts = ReturnType<typeof syntheticTexts>["facts"];

/** Groups of the first pattern that matches, or undefined. */
const groups = (text: string, pattern: string): readonly string[] | undefined =>
  new RegExp(pattern).exec(text)?.slice(1);

function need<Value>(value: Value | undefined, what: string): Value {
  if (value === undefined) throw new Error(`cannot read: ${what}`);
  return value;
}

const objectsOf = (facts: Facts): readonly SceneObject[] => ("objects" in facts ? facts.objects : []);

/** The place of a point by the third of the picture that it lies in: from coordinates, not from what was drawn. */
function placeOf({ x, y }: SceneObject): string {
  const third = (at: number) => Math.floor((3 * at) / side);
  const names = [
    ["at the top left", "at the top", "at the top right"],
    ["on the left", "in the middle", "on the right"],
    ["at the bottom left", "at the bottom", "at the bottom right"],
  ];
  return need(names[third(y)]?.[third(x)], `place ${x}, ${y}`);
}

/** The one object that a question speaks of. */
function subject(facts: Facts, question: string): SceneObject {
  const all = objectsOf(facts);
  const [named] = groups(question, atPlace) ?? [];
  const [c] = groups(question, `the ${colour}`) ?? [];
  const [s] = groups(question, `${shape}`) ?? [];
  const meant = all.filter(
    (one) => (!named || placeOf(one) === named) && (!c || one.colour === c) && (!s || one.shape === s),
  );
  if (meant.length !== 1) throw new Error(`${meant.length} objects are meant by: ${question}`);
  return need(meant[0], question);
}

const named = (text: string) => [...text.matchAll(new RegExp(`${colour} ${shape}`, "g"))].map(([name]) => name);
const namedAt = (text: string) =>
  [...text.matchAll(new RegExp(`${colour} ${shape} ${atPlace}`, "g"))].map(([name]) => name);
const sorted = (all: readonly string[]) => [...all].sort().join("; ");
const last = (text: string, pattern: string) => need(text.match(new RegExp(pattern, "g"))?.at(-1), text);
const yes = (answer: string) => /^Yes/.test(answer);

/** Whether an answer is true, by category. */
const truths: Record<string, (facts: Facts, question: string, answer: string) => boolean> = {
  colour: (facts, question, answer) => subject(facts, question).colour === last(answer, colour),
  shape: (facts, question, answer) => subject(facts, question).shape === last(answer.replace("shape", ""), shape),
  where: (facts, question, answer) => placeOf(subject(facts, question)) === last(answer, atPlace),
  at: (facts, question, answer) => {
    const { colour, shape } = subject(facts, question);
    return named(answer).join() === `${colour} ${shape}`;
  },
  exists: (facts, question, answer) =>
    objectsOf(facts).some(({ colour, shape }) => `${colour} ${shape}` === named(question)[0]) === yes(answer),
  relation: (facts, question, answer) => {
    const anchored = /^On which side of the (.*) is the (.*)\?$/.exec(question);
    const seen = /^Where is the (.*) seen from the (.*)\?$/.exec(question);
    const [about, anchor] = anchored ? [anchored[2], anchored[1]] : [seen?.[1], seen?.[2]];
    const [a, b] = [`the ${about}`, `the ${anchor}`].map((name) => subject(facts, name));
    const { x = 0, y = 0 } = a ?? {};
    const [dx, dy] = [x - (b?.x ?? 0), y - (b?.y ?? 0)];
    const side = Math.abs(dx) > Math.abs(dy) ? (dx < 0 ? "left of" : "right of") : dy < 0 ? "above" : "below";
    return last(answer, "left of|right of|above|below") === side;
  },
  changed: (facts, _, answer) => describes(facts, answer),
  caption: (facts, _, answer) => describes(facts, answer),
  "caption-places": (facts, _, answer) =>
    sorted(namedAt(answer)) === sorted(objectsOf(facts).map((one) => `${one.colour} ${one.shape} ${placeOf(one)}`)),
  count: (facts, _, answer) => objectsOf(facts).length === Number(last(answer, "\\d+")),
  "count-kind": (facts, question, answer) => {
    const [c] = groups(question, colour) ?? [];
    const [s] = groups(question, shape) ?? [];
    const counted = objectsOf(facts).filter((one) => (c ? one.colour === c : one.shape === s));
    return counted.length === Number(last(answer, "\\d+"));
  },
  bars: (facts, _, answer) => barsOf(facts).length === Number(last(answer, "\\d+")),
  "bar-colour": (facts, question, answer) => {
    const [ordinal] = groups(question, "(first|second|third|fourth|fifth|sixth)") ?? ["first"];
    const at = ["first", "second", "third", "fourth", "fifth", "sixth"].indexOf(ordinal ?? "");
    return barsOf(facts)[at]?.colour === last(answer, colour);
  },
  tallest: (facts, _, answer) =>
    [...barsOf(facts)].sort((a, b) => b.value - a.value)[0]?.colour === last(answer, colour),
  value: (facts, question, answer) => {
    const [c] = groups(question, colour) ?? [];
    const meant = barsOf(facts).filter((bar) => !c || bar.colour === c);
    return meant.length === 1 && meant[0]?.value === Number(last(answer, "\\d+"));
  },
  "chart-caption": (facts, _, answer) =>
    [...answer.matchAll(/a (\w+) bar of (\d+)/g)].map(([, c, value]) => `${c} ${value}`).join() ===
    barsOf(facts)
      .map(({ colour, value }) => `${colour} ${value}`)
      .join(),
  letter: (facts, _, answer) => textOf(facts) === last(answer, "\\b[A-Z]\\b(?!')"),
  digit: (facts, _, answer) => textOf(facts) === last(answer, "\\d+"),
  word: (facts, _, answer) => textOf(facts) === last(answer, "[A-Z]{2,}"),
  number: (facts, _, answer) => textOf(facts) === last(answer, "\\d+"),
  says: (facts, question, answer) =>
    (last(question, "\\b(?:[A-Z]+|\\d+)\\b(?! \\w+ \\w+ you)") === textOf(facts)) === yes(answer),
  ink: (facts, _, answer) => facts.kind === "writing" && facts.colour === last(answer, colour),
  sum: (_, question, answer) => {
    const [a, b] = question.match(/\d+/g) ?? [];
    return Number(a) + Number(b) === Number(last(answer, "\\d+"));
  },
  larger: (_, question, answer) => {
    const numbers = (question.match(/\d+/g) ?? []).map(Number);
    const best = question.includes("largest") ? Math.max(...numbers) : Math.min(...numbers);
    return best === Number(last(answer, "\\d+"));
  },
  format: (_, question, answer) => {
    const word = need(question.match(/^Write (?:the word )?(\w+)/)?.[1], question);
    if (question.includes("capital")) return answer === word.toUpperCase();
    if (question.includes("small")) return answer === word;
    if (question.includes("twice")) return answer === `${word} ${word}`;
    return answer === (question.includes("comma") ? `${word},` : `(${word})`);
  },
  "on-topic": (_, question, answer) => {
    const topic = need(question.match(/about (\w+)/)?.[1], question);
    return new RegExp(`\\b${topic.replace(/s$/, "")}s?\\b`, "i").test(answer);
  },
  copy: (_, question, answer) => question.endsWith(`: ${answer}`),
};

const barsOf = (facts: Facts) => (facts.kind === "chart" ? facts.bars : []);
const textOf = (facts: Facts) => (facts.kind === "writing" ? facts.text : "");
const describes = (facts: Facts, answer: string) =>
  sorted(named(answer)) === sorted(objectsOf(facts).map(({ colour, shape }) => `${colour} ${shape}`));

/** Calls `see` with the documents of a split, at all levels. */
function forDocuments(
  split: DocumentSpec["split"],
  count: number,
  see: (texts: ReturnType<typeof syntheticTexts>) => void,
  wrong = 3,
) {
  for (const level of levels) {
    for (let index = 0; index < count; index++) see(syntheticTexts({ seed: 11, index, split, level, wrong }));
  }
}

describe.each(splits)("%s", (split) => {
  it("has right answers that are true and wrong ones that are false", () => {
    const seen = new Set<string>();
    forDocuments(split, 1500, ({ id, facts, questions }) => {
      for (const { category, question, right, wrong } of questions) {
        seen.add(category);
        const truth = need(truths[category], category);
        const judged = [right, ...wrong].map((answer) => truth(facts, question, answer));
        expect(judged, `${id}: ${question} ${right} / ${wrong.join(" ")}`).toEqual([true, ...wrong.map(() => false)]);
      }
    });
    expect(seen.size).toBe(split === "unseen" ? 9 : Object.keys(truths).length);
  });

  it("has different answers, and three wrong ones wherever there are so many", () => {
    const fewer = new Set<string>();
    forDocuments(split, 1000, ({ questions }) => {
      for (const { category, right, wrong } of questions) {
        expect(new Set([right, ...wrong]).size).toBe(1 + wrong.length);
        if (wrong.length < 3) fewer.add(category);
      }
    });
    expect([...fewer].sort()).toEqual(split === "unseen" ? ["exists"] : ["bars", "exists", "larger", "says"]);
  });
});

const colourShapes = unseenKinds.map(({ colour, shape }) => `${colour} ${shape}`);
const spoken = (texts: ReturnType<typeof syntheticTexts>) =>
  texts.questions.flatMap(({ question, right, wrong }) => [question, right, ...wrong]);

describe("combinations kept for the split unseen", () => {
  it("are eight, of eight colours, and never drawn or named elsewhere", () => {
    expect(new Set(unseenKinds.map(({ colour }) => colour)).size).toBe(8);
    for (const split of ["train", "held-out"] as const) {
      forDocuments(
        split,
        2000,
        (texts) => {
          for (const { colour, shape } of objectsOf(texts.facts))
            expect(colourShapes).not.toContain(`${colour} ${shape}`);
          for (const text of spoken(texts)) for (const name of named(text)) expect(colourShapes).not.toContain(name);
        },
        7,
      );
    }
  });

  it("are in every document of that split, and what its questions are about", () => {
    forDocuments("unseen", 1000, ({ facts, questions }) => {
      const kept = objectsOf(facts).filter(({ colour, shape }) => colourShapes.includes(`${colour} ${shape}`));
      expect(kept).toHaveLength(1);
      for (const { category, question } of questions) {
        if (category === "colour" || category === "shape" || category === "where" || category === "at") {
          expect(subject(facts, question)).toBe(kept[0]);
        }
        if (category === "exists") expect(colourShapes).toContain(named(question)[0]);
      }
    });
  });
});

test("splits, seeds and levels have documents of their own", () => {
  const shown = new Map<string, number>();
  for (const split of splits) {
    for (const seed of [0, 1]) {
      for (const level of levels) {
        for (let index = 0; index < 300; index++) {
          const { facts } = syntheticTexts({ seed, index, split, level });
          if (facts.kind !== "scene") continue; // a scene has coordinates: two are equal by design only
          const key = JSON.stringify(facts);
          shown.set(key, (shown.get(key) ?? 0) + 1);
        }
      }
    }
  }
  expect([...shown.values()].filter((times) => times > 1)).toEqual([]);
});

test.each([112, 140, 224])(
  "at %i pixels, an object's middle has its colour, and its place is the third it lies in",
  (size) => {
    for (const level of levels) {
      for (let index = 0; index < 60; index++) {
        const weights = { at: 1 };
        const { facts, picture } = syntheticDocument({ seed: 3, index, split: "train", level, size, weights });
        for (const object of objectsOf(facts)) {
          const pixel = 3 * (Math.floor((object.y * size) / side) * size + Math.floor((object.x * size) / side));
          const distance = ([, ink]: readonly [string, readonly number[]]) =>
            ink.reduce((sum, value, channel) => sum + (value - (picture?.data[pixel + channel] ?? 0)) ** 2, 0);
          const [nearest] = Object.entries(inks).sort((a, b) => distance(a) - distance(b));
          expect(nearest?.[0]).toBe(object.colour);
          expect(placeOf(object)).toBe(places[object.place]);
        }
      }
    }
  },
);

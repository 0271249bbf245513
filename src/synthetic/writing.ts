/**
 * @file Letters, words and numbers to be read. Words are drawn evenly, and so are the characters of everything else.
 */

import { dotsOf } from "./draw.ts";
import type { Draws } from "./draws.ts";
import { glyphHeight } from "./font.ts";
import { type Asking, ask, askWhether, editsOf, otherValues, type SyntheticQuestion } from "./question.ts";
import { colours, type Level, side, type Writing } from "./world.ts";

const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
const digits = [..."0123456789"];

/** Common words by length; none names a colour or a shape. */
export const words: Readonly<Record<number, readonly string[]>> = {
  3: "ANT BAG BED BOX BUS CAR CAT COW CUP DAY DOG EGG FOX HAT ICE JAM KEY LEG MAP NUT OWL PEN PIG SEA SUN TEA TOY VAN WAY ZOO".split(
    " ",
  ),
  4: "BALL BIRD BOAT BOOK CAKE COAT DOOR DUCK FISH FROG GOAT HAND HOME KING LAMP LEAF MILK MOON NOSE PARK RAIN ROAD SHIP SHOE SNOW TREE WIND WOLF YEAR ZERO".split(
    " ",
  ),
};

export type WritingForm = "letter" | "digit" | "word" | "number";

/** Which forms a level has. */
export const writingForms: readonly (readonly WritingForm[])[] = [
  ["letter", "digit"],
  ["letter", "digit", "number"],
  ["letter", "digit", "number", "word"],
  ["letter", "digit", "number", "word"],
];

const longestNumber = [0, 2, 3, 4] as const;
const longestWord = [0, 0, 3, 4] as const;

export function drawWriting(draws: Draws, level: Level, form: WritingForm): Writing {
  const text = drawText(draws, level, form);
  // As large as fits, or down to three quarters of that at level 0 and half of it afterwards.
  const dots = dotsOf(text);
  const largest = Math.min(1200, Math.floor((side - 800) / dots));
  const dot = draws.between(Math.floor((largest * (level === 0 ? 3 : 2)) / 4), largest);
  const height = dot * glyphHeight;
  const free = [side - dots * dot, side - height].map((rest) => Math.floor(rest / 2));
  const [x, y] = free.map((rest) => Math.floor(side / 2) + draws.between(-rest, rest));
  return { kind: "writing", text, colour: draws.pick(colours), height, x: x ?? 0, y: y ?? 0 };
}

function drawText(draws: Draws, level: Level, form: WritingForm): string {
  switch (form) {
    case "letter":
      return draws.pick(letters);
    case "digit":
      return draws.pick(digits);
    case "word":
      return draws.pick(words[draws.between(3, longestWord[level])] ?? []);
    case "number": {
      const length = draws.between(2, longestNumber[level]);
      return Array.from({ length }, (_, index) => draws.pick(index === 0 ? digits.slice(1) : digits)).join("");
    }
  }
}

export function formOf(text: string): WritingForm {
  if (/^[0-9]+$/.test(text)) return text.length === 1 ? "digit" : "number";
  return text.length === 1 ? "letter" : "word";
}

type WritingAsker = (writing: Writing, asking: Asking) => SyntheticQuestion | undefined;

const read =
  (form: WritingForm): WritingAsker =>
  ({ text }, asking) =>
    formOf(text) !== form
      ? undefined
      : ask(form, asking, {
          asks: [`Which ${form} is this?`, `What ${form} do you see?`, `Read the ${form}.`],
          says: [(read) => `It is ${read}.`, (read) => `It says ${read}.`, (read) => `The ${form} is ${read}.`],
          right: text,
          wrong: otherTexts(text),
        });

export const writingQuestions = {
  letter: read("letter"),
  digit: read("digit"),
  word: read("word"),
  number: read("number"),

  says: ({ text }, asking) => {
    const { draws } = asking;
    const answer = draws.chance(1, 2);
    const [other = text] = otherTexts(text)(draws.fork(), 1);
    const asked = answer ? text : other;
    return askWhether(
      "says",
      asking,
      [`Does it say ${asked}?`, `Do you read ${asked}?`, `Is ${asked} in the picture?`],
      answer,
    );
  },

  ink: ({ colour }, asking) =>
    ask("ink", asking, {
      asks: ["What colour is the text?", "Which colour does the text have?", "Name the colour of the text."],
      says: [(said) => `It is ${said}.`, (said) => `It has the colour ${said}.`, (said) => `The colour is ${said}.`],
      right: colour,
      wrong: otherValues(colour, colours, []),
    }),
} as const satisfies Readonly<Record<string, WritingAsker>>;

/** Other texts of the same form and length; a number differs in one digit, or two of its digits are exchanged. */
function otherTexts(text: string): (draws: Draws, count: number) => string[] {
  switch (formOf(text)) {
    case "letter":
      return otherValues(text, letters, []);
    case "digit":
      return otherValues(text, digits, []);
    case "word":
      return otherValues(text, words[text.length] ?? [], []);
    case "number":
      return editsOf(text, String, (draws) => withOneDigitChanged(draws, text));
  }
}

function withOneDigitChanged(draws: Draws, text: string): string | undefined {
  const changed = [...text];
  const at = draws.below(text.length);
  if (draws.chance(1, 3)) {
    const other = draws.below(text.length);
    [changed[at], changed[other]] = [text[other] ?? "", text[at] ?? ""];
  } else {
    changed[at] = draws.pick(digits);
  }
  return changed[0] === "0" ? undefined : changed.join("");
}

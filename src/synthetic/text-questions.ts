/**
 * @file Questions that need no picture. Answers alone say nothing: each is as often right as wrong over all questions.
 */
import type { Draws } from "./draws.ts";
import { type Asking, ask, editsOf, otherValues, range, type SyntheticQuestion } from "./question.ts";
import type { Level } from "./world.ts";

const largestSum = [9, 12, 20, 40] as const;
const largestNumber = [9, 20, 99, 999] as const;
const mostNumbers = [2, 3, 4, 4] as const;
const mostCopied = [2, 3, 4, 5] as const;

const nouns = "cat dog sun moon tree book fish bird rain snow milk cake hand door ship road".split(" ");

const topics: Readonly<Record<string, readonly string[]>> = {
  cats: ["A cat sleeps most of the day.", "Cats like to drink milk.", "A cat can see at night."],
  dogs: ["A dog likes to run and play.", "Dogs help people on farms.", "A dog can find things by smell."],
  rain: ["Rain falls from clouds.", "Rain makes the road wet.", "After rain the plants grow."],
  bread: ["Bread is made from flour.", "People bake bread in an oven.", "Bread is good with butter."],
  trains: ["A train runs on rails.", "Trains carry many people.", "A train stops at each station."],
  fish: ["A fish lives in water.", "Fish swim in the sea.", "A fish has no legs."],
  books: ["A book has many pages.", "People read books at home.", "A book can tell a story."],
  trees: ["A tree has leaves and roots.", "Trees grow for many years.", "A tree gives wood."],
};

/** Ways to write a word, with what asks for them. */
const forms: Readonly<Record<string, (word: string) => string>> = {
  "in capital letters": (word) => word.toUpperCase(),
  "in small letters": (word) => word,
  twice: (word) => `${word} ${word}`,
  "with a comma": (word) => `${word},`,
  "in brackets": (word) => `(${word})`,
};

type TextAsker = (asking: Asking, level: Level) => SyntheticQuestion;

export const textQuestions = {
  sum: (asking, level) => {
    const { draws } = asking;
    const [lowest, highest] = [2, largestSum[level]];
    const sum = draws.between(lowest, highest);
    const first = draws.between(1, sum - 1);
    const second = sum - first;
    const count = highest - lowest + 1;
    return ask("sum", asking, {
      asks: [`What is ${first} + ${second}?`, `Add ${first} and ${second}.`, `How much is ${first} plus ${second}?`],
      says: [(said) => `It is ${said}.`, (said) => `The sum is ${said}.`, (said) => `That makes ${said}.`],
      right: sum,
      // Half of them near; the numbers form a ring, so that each is as often near as any other.
      wrong: editsOf(sum, String, (draws) => {
        const shift = draws.chance(1, 2) ? draws.between(-2, 2) : draws.below(count);
        return lowest + ((sum - lowest + shift + count) % count);
      }),
    });
  },

  larger: (asking, level) => {
    const { draws } = asking;
    const numbers = draws.sample(range(1, largestNumber[level]), mostNumbers[level]);
    const largest = draws.chance(1, 2);
    const word = largest ? "largest" : "smallest";
    const right = largest ? Math.max(...numbers) : Math.min(...numbers);
    const list = numbers.join(", ");
    return ask("larger", asking, {
      asks: [`Which number is the ${word}: ${list}?`, `Name the ${word} number: ${list}.`],
      says: [(said) => `It is ${said}.`, (said) => `The ${word} number is ${said}.`],
      right,
      wrong: otherValues(right, numbers, []),
    });
  },

  format: (asking) => {
    const word = asking.draws.pick(nouns);
    const form = asking.draws.pick(Object.keys(forms));
    return ask("format", asking, {
      asks: [`Write the word ${word} ${form}.`, `Write ${word} ${form}.`],
      says: [(said) => forms[said]?.(word) ?? ""],
      right: form,
      wrong: otherValues(form, Object.keys(forms), []),
    });
  },

  "on-topic": (asking) => {
    const topic = asking.draws.pick(Object.keys(topics));
    const right = asking.draws.pick(topics[topic] ?? []);
    return ask("on-topic", asking, {
      asks: [
        `Tell me something about ${topic}.`,
        `What do you know about ${topic}?`,
        `Write a sentence about ${topic}.`,
      ],
      says: [String],
      right,
      wrong: (draws, count) =>
        otherValues(topic, Object.keys(topics), [])(draws, count).map((other) => draws.pick(topics[other] ?? [])),
    });
  },

  copy: (asking, level) => {
    const said = asking.draws.sample(nouns, mostCopied[level]);
    const joined = (all: readonly string[]) => all.join(" ");
    return ask<readonly string[]>("copy", asking, {
      asks: [`Say: ${joined(said)}.`, `Repeat the words: ${joined(said)}.`],
      says: [(all) => `${joined(all)}.`],
      right: said,
      wrong: editsOf(said, joined, (draws) => withOneWordChanged(draws, said)),
    });
  },
} as const satisfies Readonly<Record<string, TextAsker>>;

/** A word becomes another, or two change places. */
function withOneWordChanged(draws: Draws, said: readonly string[]): string[] {
  const at = draws.pick(said);
  const other = draws.pick(draws.chance(1, 2) ? said : nouns);
  return said.map((word) => (word === at ? other : word === other ? at : word));
}

/**
 * @file Bar charts and questions about them. Colours and values are drawn evenly, without repeating one: no bar says
 * anything of another.
 */
import type { Draws } from "./draws.ts";
import { type Asking, ask, editsOf, otherValues, range, type SyntheticQuestion } from "./question.ts";
import { numberSaid } from "./scene-questions.ts";
import { type Bar, type Chart, colours, type Level, listed } from "./world.ts";

/** How many bars a chart may have, by level. */
export const mostBars = [1, 2, 4, 6] as const;
/** Values that bars may have, by level: the easy ones are further apart. */
export const barValues = [[2, 4, 6, 8], [2, 4, 6, 8], range(1, 8), range(1, 8)] as const;

export function drawChart(draws: Draws, level: Level, fewest: number): Chart {
  const count = draws.between(fewest, mostBars[level]);
  const [taken, values] = [draws.sample(colours, count), draws.sample(barValues[level], count)];
  return { kind: "chart", bars: taken.map((colour, index) => ({ colour, value: values[index] ?? 0 })) };
}

const ordinals = ["first", "second", "third", "fourth", "fifth", "sixth"];

type ChartAsker = (chart: Chart, asking: Asking, level: Level, fewest: number) => SyntheticQuestion | undefined;

export const chartQuestions = {
  bars: ({ bars }, asking, level, fewest) =>
    mostBars[level] === fewest
      ? undefined
      : ask("bars", asking, {
          asks: ["How many bars are there?", "Count the bars.", "What is the number of bars?"],
          ...numberSaid,
          right: bars.length,
          wrong: otherValues(bars.length, range(fewest, mostBars[level]), []),
        }),

  "bar-colour": ({ bars }, asking) => {
    const about = asking.draws.pick(bars);
    const subject = bars.length === 1 ? "the bar" : `the ${ordinals[bars.indexOf(about)]} bar`;
    return ask("bar-colour", asking, {
      asks: [`What colour is ${subject}?`, `Which colour does ${subject} have?`, `Name the colour of ${subject}.`],
      says: [
        (colour) => `It is ${colour}.`,
        (colour) => `It has the colour ${colour}.`,
        (colour) => `The colour is ${colour}.`,
      ],
      right: about.colour,
      wrong: otherValues(
        about.colour,
        colours,
        bars.map(({ colour }) => colour),
      ),
    });
  },

  tallest: ({ bars }, asking) => {
    if (bars.length === 1) return undefined;
    const about = bars.reduce((best, bar) => (bar.value > best.value ? bar : best));
    return ask("tallest", asking, {
      asks: ["Which bar is the tallest?", "Name the tallest bar.", "What is the tallest bar?"],
      says: [
        (colour) => `It is the ${colour} bar.`,
        (colour) => `The ${colour} bar.`,
        (colour) => `The tallest is the ${colour} bar.`,
      ],
      right: about.colour,
      wrong: otherValues(
        about.colour,
        colours,
        bars.map(({ colour }) => colour),
      ),
    });
  },

  value: ({ bars }, asking, level) => {
    const about = asking.draws.pick(bars);
    const subject = bars.length === 1 && asking.draws.chance(1, 2) ? "the bar" : `the ${about.colour} bar`;
    return ask("value", asking, {
      asks: [`How tall is ${subject}?`, `What is the value of ${subject}?`, `Read the value of ${subject}.`],
      says: [
        (value) => `It is ${value}.`,
        (value) => `It has the value ${value}.`,
        (value) => `The value is ${value}.`,
      ],
      right: about.value,
      wrong: otherValues(
        about.value,
        barValues[level],
        bars.map(({ value }) => value),
      ),
    });
  },

  "chart-caption": ({ bars }, asking, level) => {
    const listing = (all: readonly Bar[]) => listed(all.map(({ colour, value }) => `a ${colour} bar of ${value}`));
    return ask<readonly Bar[]>("chart-caption", asking, {
      asks: ["Describe the chart.", "What does the chart show?", "Which bars are there?"],
      says: [
        (all) => `There is ${listing(all)}.`,
        (all) => `The chart shows ${listing(all)}.`,
        (all) => `I see ${listing(all)}.`,
      ],
      right: bars,
      wrong: editsOf(bars, listing, (draws) => withOneBarChanged(draws, bars, level)),
    });
  },
} as const satisfies Readonly<Record<string, ChartAsker>>;

/** Two bars exchange colour or value, or one gets another that no bar has. */
function withOneBarChanged(draws: Draws, bars: readonly Bar[], level: Level): Bar[] {
  const [about, partner] = [draws.pick(bars), draws.pick(bars)];
  if (draws.chance(1, 2)) {
    const colour = draws.chance(1, 2) && about !== partner ? partner.colour : draws.pick(colours);
    return bars.map((bar) => {
      if (bar === about) return { ...bar, colour };
      return bar.colour === colour ? { ...bar, colour: about.colour } : bar;
    });
  }
  const value = draws.chance(1, 2) && about !== partner ? partner.value : draws.pick(barValues[level]);
  return bars.map((bar) => {
    if (bar === about) return { ...bar, value };
    return bar.value === value ? { ...bar, value: about.value } : bar;
  });
}

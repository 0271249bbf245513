/**
 * @file What is measured: records as `vl-reward score` reads them, made of the shipped pictures and of words without
 * meaning, equal in every run. Lengths are counted with the checkpoint's own tokenizer.
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** @typedef {{ type: string, [option: string]: unknown }} Part */

/**
 * A line of a workload's file.
 *
 * @typedef {object} BenchRecord
 * @property {string} id
 * @property {{ role: "user", content: string | Part[] }[]} messages
 * @property {string[]} responses
 */

/**
 * @typedef {object} Workload
 * @property {string} name
 * @property {BenchRecord[]} before scored first, not timed: fills caches, touches all weights
 * @property {BenchRecord[]} records what is timed
 * @property {string} [uncached] the workload that this one is, but for the prompt being cached
 */

/**
 * @typedef {object} WorkloadOptions
 * @property {(text: string) => number} countTokens
 * @property {string | undefined} photo a picture file, read at its own size; without it a shipped one, enlarged
 */

const pictureFolder = fileURLToPath(new URL("../examples/pictures/", import.meta.url));
const pictures = ["rocket.jpg", "coffee.jpg", "chelsea.png", "hubble.jpg"].map((name) => resolve(pictureFolder, name));
/** What a photograph of 1073 x 972 is resized to: 70 x 76 patches, 1,330 visual tokens. */
const photoSize = { resized_height: 980, resized_width: 1064 };
const frame = { resized_height: 280, resized_width: 420 };
const squareFrame = { resized_height: 224, resized_width: 224 }; // 64 visual tokens for two of them
const squares = ["chart-1.png", "crowd-1.png", "scene-1.png", "scene-2.png", "scene-3.png", "writing-1.png"];
const smallFrame = { resized_height: 168, resized_width: 252 };

const words =
  "the a red two picture shows left of and table with small light under because it is not more than answer seven day";

/**
 * @param {WorkloadOptions} options
 * @returns {Workload[]}
 */
export function makeWorkloads({ countTokens, photo }) {
  const random = randomFrom(1);
  const textOf = textsFrom(random, countTokens);
  /** @param {number} count @param {number} tokens */
  const answersOf = (count, tokens) => Array.from({ length: count }, () => textOf(tokens));
  /** @param {string} id @param {string | Part[]} content @param {string[]} responses @returns {BenchRecord} */
  const record = (id, content, responses) => ({ id, messages: [{ role: "user", content }], responses });
  /** @param {number} tokens @returns {Part} */
  const textPart = (tokens) => ({ type: "text", text: textOf(tokens) });

  /** @type {Part} */
  const photoPart = photo
    ? { type: "image", image: resolve(photo) }
    : { type: "image", image: pictures[0], ...photoSize };
  const question = [photoPart, textPart(40)];
  const pair = record("pair", question, answersOf(2, 130));
  const best = record("best", question, answersOf(8, 130));

  /** @param {number} count @param {typeof frame} size @param {number} tokens @returns {Part[]} */
  const video = (count, size, tokens) => [
    { ...size, type: "video", video: Array.from({ length: count }, (_, index) => pictures[index % pictures.length]) },
    textPart(tokens),
  ];

  /** @param {number} index @returns {BenchRecord} */
  const mixed = (index) => {
    const id = `mixed ${index}`;
    const picture = pictures[random(pictures.length)];
    if (index === 40) return { ...pair, id }; // the largest group, among others
    if (index % 16 === 5) return record(id, video(4, smallFrame, 20), answersOf(2, 20));
    if (index % 8 === 3) return record(id, textOf(20 + random(30)), answersOf(4, 10 + random(20)));
    if (index % 3 === 1) {
      const image = { type: "image", image: picture, max_pixels: 784 * (20 + random(80)) };
      return record(id, [image, textPart(10 + random(20))], answersOf(2, 10 + random(30)));
    }
    return record(id, textOf(20 + random(60)), answersOf(1 + random(2), 10 + random(30)));
  };

  const warmUp = record(
    "warm-up",
    [
      { type: "image", image: pictures[1], max_pixels: 100_352 },
      { type: "text", text: "What is this?" },
    ],
    ["A cup.", "A cat."],
  );
  return [
    { name: "picture pair", before: [warmUp], records: [pair] },
    { name: "best-of-8", before: [warmUp], records: [best] },
    { name: "text pair", before: [warmUp], records: [record("text", textOf(1400), answersOf(2, 130))] },
    { name: "64 mixed", before: [warmUp], records: Array.from({ length: 64 }, (_, index) => mixed(index)) },
    {
      name: "picture pair, prompt cached",
      before: [warmUp, record("known", question, ["yes", "no"])],
      records: [pair],
      uncached: "picture pair",
    },
    {
      name: "best-of-8, prompt cached",
      before: [warmUp, record("known", question, ["yes", "no"])],
      records: [best],
      uncached: "best-of-8",
    },
    {
      name: "video, 16 frames",
      before: [warmUp],
      records: [record("video", video(16, frame, 40), answersOf(2, 130))],
    },
  ];
}

/**
 * Preferences about pictures of the photograph's size, each about another one as far as there are pictures.
 *
 * @param {WorkloadOptions} options
 * @param {number} count
 */
export function makePicturePairs({ countTokens, photo }, count) {
  const textOf = textsFrom(randomFrom(2), countTokens);
  return Array.from({ length: count }, (_, index) => {
    const own = { type: "image", image: pictures[index % pictures.length], ...photoSize };
    const image = photo === undefined ? own : { ...own, image: resolve(photo) };
    const content = [image, { type: "text", text: textOf(40) }];
    return { messages: [{ role: "user", content }], chosen: textOf(130), rejected: textOf(130) };
  });
}

/**
 * Long videos and short text pairs, no two alike: nothing of one is in a cache for another.
 *
 * @param {(text: string) => number} countTokens
 * @param {{ videos: number, frames: number, pairs: number }} counts
 */
export function makeLatencyGroups(countTokens, { videos, frames, pairs }) {
  const textOf = textsFrom(randomFrom(3), countTokens);
  /** @param {string | Part[]} content @param {number} tokens @returns {import("./groups.mjs").Group} */
  const groupOf = (content, tokens) => ({
    prefix: [/** @type {import("../src/conversation.ts").Message} */ ({ role: "user", content })],
    branches: [textOf(tokens), textOf(tokens)].map((answer) => ({ role: "assistant", content: answer })),
    baseFolder: pictureFolder,
  });
  /** @param {number} length @param {() => import("./groups.mjs").Group} make */
  const many = (length, make) => Array.from({ length }, make);
  let made = 0;
  const video = (count = frames) => {
    const number = made++; // its digits choose the first frames
    const frameOf = (/** @type {number} */ index) => {
      const digit = Math.floor(number / squares.length ** index);
      return squares[(index + digit) % squares.length] ?? "";
    };
    const list = Array.from({ length: count }, (_, index) => frameOf(index));
    return groupOf([{ ...squareFrame, type: "video", video: list }], 40);
  };
  const pair = () => groupOf(textOf(100), 60);
  return {
    before: [pair(), video(4)],
    alone: many(7, pair),
    videos: many(videos, () => video()),
    others: many(videos, () => video()),
    pairs: many(pairs, pair),
    queue: many(48, pair),
    urgent: pair(),
  };
}

/**
 * @param {(below: number) => number} random
 * @param {(text: string) => number} countTokens
 * @returns {(tokens: number) => string} a text of so many tokens, or a few more
 */
function textsFrom(random, countTokens) {
  const costs = words.split(" ").map((word) => ({ word, tokens: countTokens(` ${word}`) }));
  return (tokens) => {
    const text = [];
    for (let sum = 0; sum < tokens; ) {
      const { word, tokens: cost } = costs[random(costs.length)] ?? { word: "", tokens: 1 };
      text.push(word);
      sum += cost;
    }
    return text.join(" ");
  };
}

/**
 * A small generator of random numbers (mulberry32) -> whole numbers below its argument.
 *
 * @param {number} seed
 * @returns {(below: number) => number}
 */
function randomFrom(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

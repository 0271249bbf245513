/** @file Groups of any kind, the same in every run: what the passes of the engine have to answer alike in all circumstances. */
import type { Message, Part } from "../src/conversation.ts";

/** A small generator of random numbers (mulberry32), so that every run tests the same groups. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

const words = ["red", "a", "circle", "two", "left", "of", "the", "square\n", "blue", "12", "yes", "is", "not", "."];
const pictures = ["odd.jpg", "tiny.png", "wide.png", "grey.png", "alpha.png", "exif.jpg"];

/**
 * A prompt with up to three pictures of test/fixtures/parity, if the model sees, or a long text, and one to five answers, some of
 * them equal.
 */
export function randomGroup(
  random: (below: number) => number,
  sees = true,
): { prefix: Message[]; branches: Message[] } {
  const text = (length: number): string => Array.from({ length }, () => words[random(words.length)]).join(" ");
  const parts: Part[] = Array.from({ length: sees ? random(4) : 0 }, () => ({
    type: "image",
    image: `media/${pictures[random(pictures.length)]}`,
  }));
  parts.splice(random(parts.length + 1), 0, { type: "text", text: text(random(8) === 0 ? 1500 : 1 + random(30)) });
  const prefix: Message[] = [{ role: "user", content: parts }];
  if (random(3) === 0) prefix.unshift({ role: "system", content: text(5) });
  const answers = Array.from({ length: 1 + random(4) }, () => text(1 + random(random(4) === 0 ? 80 : 12)));
  if (random(2) === 0 && answers[0]) answers.push(answers[0]);
  return { prefix, branches: answers.map((content) => ({ role: "assistant", content })) };
}

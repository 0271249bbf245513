import { expect, test } from "vitest";
import { presentationTimes } from "./video-index.ts";

const plain = { times: [0, 10, 20, 30, 40, 50], shown: [0, 10, 20, 30, 40, 50], keyframes: [0, 30] };
// The file was cut: its first two packets are decoded and not shown.
const cut = { ...plain, shown: [20, 30, 40, 50] };

test.each([
  ["an index is a place in time", plain, [0, 4, 4, 1], [0, 40, 40, 10]],
  ["unseen packets move what is read from the start", cut, [0, 1, 2], [20, 30, 40]],
  ["a step within the first group counts shown frames", cut, [1], [30]],
  ["a jump to another keyframe finds its place again", cut, [0, 4, 5], [20, 40, 50]],
  ["past the end the last frame is repeated", cut, [0, 1, 2, 3, 4, 5], [20, 30, 40, 50, 50, 50]],
  ["a step back finds its place again", cut, [3, 2], [30, 20]],
] as const)("%s", (_, index, indices, times) => {
  expect(presentationTimes(indices, index)).toEqual(times);
});

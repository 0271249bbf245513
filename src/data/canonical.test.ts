import { expect, test } from "vitest";
import type { Message } from "../conversation.ts";
import { canonicalText, hashShare, promptHash } from "./canonical.ts";

const user = (content: Message["content"]): Message => ({ role: "user", content });
const text = (content: string) => ({ type: "text", text: content }) as const;
const picture = { type: "image", image: "a.png", maxPixels: 9 } as const;

test.each<[readonly Message[], readonly Message[]]>([
  [[user("hi")], [user([text("hi")])]],
  [[user("hi")], [user([text("h"), text(""), text("i")])]],
  [[user([picture])], [user([{ maxPixels: 9, image: "a.png", type: "image" }, text("")])]],
  [[user("")], [user([])]],
])("%j says what %j does", (a, b) => {
  expect(canonicalText(a)).toBe(canonicalText(b));
  expect(promptHash(a)).toBe(promptHash(b));
});

test("what differs in anything else is different", () => {
  const others: (readonly Message[])[] = [
    [user("hi")],
    [user("h"), user("i")],
    [{ role: "assistant", content: "hi" }],
    [user([text("h"), picture, text("i")])],
    [user([picture, text("hi")])],
    [user([text("hi"), picture])],
    [user([text("hi"), { ...picture, maxPixels: 10 }])],
    [user([text("hi"), { type: "video", video: "a.png" }])],
    [user([text("hi"), { type: "video", video: ["a.png"] }])],
    [user('hi",["type","image"]')],
  ];
  expect(new Set(others.map(canonicalText)).size).toBe(others.length);
  expect(new Set(others.map(promptHash)).size).toBe(others.length);
});

test("hashes are whole numbers, spread evenly", () => {
  const shares = Array.from({ length: 4000 }, (_, index) => promptHash([user(`question ${index}`)]));
  expect(shares.every(Number.isSafeInteger)).toBe(true);
  const below = (part: number) => shares.filter((hash) => hashShare(hash) < part).length / shares.length;
  for (const part of [0.05, 0.25, 0.5, 0.9]) {
    // four standard deviations of a binomial distribution
    expect(Math.abs(below(part) - part)).toBeLessThan(4 * Math.sqrt((part * (1 - part)) / shares.length));
  }
});

import { describe, expect, test } from "vitest";
import type { Message, Role } from "../../conversation.ts";
import { nextCut, withoutOldest } from "./cut.ts";

const roles: Record<string, Role> = { s: "system", u: "user", p: "user", a: "assistant" };

/** Turns from letters: system, user, user with a picture, assistant; each with its place as its text. */
const turns = (letters: string): Message[] =>
  [...letters].map((letter, place) => ({
    role: roles[letter] ?? "user",
    content:
      letter === "p"
        ? [
            { type: "image", image: "a.png" },
            { type: "text", text: `${place}` },
          ]
        : `${place}`,
  }));

/** What is left after each cut, as the places of its turns. */
function cuts(letters: string): string[] {
  const prompt = turns(letters);
  const left: string[] = [];
  for (let dropped = nextCut(prompt, 0); dropped !== undefined; dropped = nextCut(prompt, dropped)) {
    left.push(
      withoutOldest(prompt, dropped)
        .map((turn) => prompt.indexOf(turn))
        .join(""),
    );
  }
  return left;
}

describe("what is left of a prompt after each cut", () => {
  test.each<[prompt: string, left: string[]]>([
    ["uauau", ["234", "4"]],
    ["suauau", ["0345", "05"]],
    ["u", []],
    ["su", []],
    ["uu", ["1"]],
    ["auau", ["123", "3"]], // begins with the assistant's greeting
    ["uaauau", ["345", "5"]],
    ["pauau", []], // all that follows may be about the picture
    ["uapau", ["234"]],
    ["suap", ["03"]],
  ])("%s: %j", (prompt, left) => {
    expect(cuts(prompt)).toEqual(left);
  });
});

test("nothing left out is the prompt itself", () => {
  const prompt = turns("sua");
  expect(withoutOldest(prompt, 0)).toBe(prompt);
});

/**
 * @file Documents as training data and as records to be scored.
 */
import type { Message, Part } from "../conversation.ts";
import type { Preference } from "../data/preference.ts";
import { randomStream } from "../data/random.ts";
import type { Picture } from "./canvas.ts";
import type { SyntheticDocument } from "./document.ts";
import { Draws } from "./draws.ts";
import { pngOf } from "./png.ts";

/** A question with its answers in an order that says nothing. */
export interface ShuffledQuestion {
  readonly id: string;
  readonly category: string;
  readonly question: string;
  /** The right answer among the wrong ones. */
  readonly answers: readonly string[];
  /** The right one's index. */
  readonly right: number;
}

/** Throws a RangeError where the document has no such question. */
export function shuffledQuestion(document: SyntheticDocument, index: number): ShuffledQuestion {
  const asked = document.questions[index];
  if (asked === undefined) throw new RangeError(`document ${document.id} has no question ${index}`);
  const id = `${document.id}-${index}`;
  const all = [asked.right, ...asked.wrong];
  const answers = new Draws(randomStream("synthetic answers", id)).sample(all, all.length);
  return { id, category: asked.category, question: asked.question, answers, right: answers.indexOf(asked.right) };
}

/**
 * A question as training data: the right answer against each wrong one. The picture is a data URL, the same string for
 * all questions of the document, and `source` is the category. Throws as `shuffledQuestion` does.
 */
export function syntheticPreference(document: SyntheticDocument, index: number): Preference {
  const { id, category, question, answers, right } = shuffledQuestion(document, index);
  const wrong = [...answers.keys()].filter((answer) => answer !== right);
  return {
    id,
    prefix: [promptOf(question, document.picture && pictureUrl(document.picture))],
    answers: answers.map((content): Message => ({ role: "assistant", content })),
    pairs: wrong.map((rejected) => ({ chosen: right, rejected, margin: 0, weight: 1 })),
    source: category,
  };
}

/** The user's turn: the picture, where there is one, and the question. */
export function promptOf(question: string, image: string | undefined): Message {
  if (image === undefined) return { role: "user", content: question };
  const parts: Part[] = [
    { type: "image", image },
    { type: "text", text: question },
  ];
  return { role: "user", content: parts };
}

const urls = new WeakMap<Picture, string>();

/** The picture as a PNG in a data URL. */
export function pictureUrl(picture: Picture): string {
  const known = urls.get(picture);
  if (known !== undefined) return known;
  const url = `data:image/png;base64,${pngOf(picture).toString("base64")}`;
  urls.set(picture, url);
  return url;
}

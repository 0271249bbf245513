/** @file The questions of the benchmark: one from each document, so that no two have a picture in common. */

import type { AnswerGroup } from "../../engine/group.ts";
import { syntheticDocument } from "../../synthetic/document.ts";
import { pictureUrl, promptOf } from "../../synthetic/preference.ts";
import type { Category } from "../../synthetic/question.ts";
import type { Split } from "../../synthetic/world.ts";

/** Beside the right answer where a category has so many: a choice of eight. */
const wrong = 7;
/** As many as a document of `synth` and of training has. Each of them in turn makes the pair, so that pairs are as hard as there. */
const paired = 3;

export interface Asked {
  readonly seed: number;
  readonly split: Split;
  readonly category: Category;
  readonly size: number; // pixels a side
  /** Whether the picture is taken away. */
  readonly blank: boolean;
  /** "pair": only the right answer and one wrong one. */
  readonly answers: "all" | "pair";
  readonly count: number;
}

/**
 * The hardest level's documents; each is made when it is asked for. The right answer is the first, and the second the wrong one
 * of its pair. The same number of a category asks the same at every size, blank or not.
 */
export function* questions({ seed, split, category, size, blank, answers, count }: Asked): Generator<AnswerGroup> {
  let asked = 0;
  for (let index = 0; asked < count; index++) {
    const document = syntheticDocument({
      seed,
      index,
      split,
      level: 3,
      size,
      wrong,
      blank,
      weights: { [category]: 1 },
    });
    const [question] = document.questions;
    if (question === undefined) continue; // a scene in which nothing can be asked, such as one without two objects in line
    const turn = asked % Math.min(paired, question.wrong.length);
    const others = question.wrong.filter((_, at) => answers === "all" && at !== turn);
    const said = [question.right, ...question.wrong.slice(turn, turn + 1), ...others];
    asked++;
    yield {
      prefix: [promptOf(question.question, document.picture && pictureUrl(document.picture))],
      branches: said.map((content) => ({ role: "assistant", content })),
      baseFolder: ".",
    };
  }
}

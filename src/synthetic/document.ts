/**
 * @file Documents made up from a seed: a picture, questions about it, right answers and wrong ones.
 *
 * The same specification gives the same document on every machine, byte for byte. Documents of different splits or seeds
 * are drawn from different streams; `unseen` has combinations of colour and shape that the others never name.
 */

import { randomStream } from "../data/random.ts";
import { VlRewardError } from "../errors.ts";
import type { Picture } from "./canvas.ts";
import { chartQuestions, drawChart } from "./chart.ts";
import { blankOf, draw } from "./draw.ts";
import { Draws } from "./draws.ts";
import {
  type Asking,
  type Category,
  categories,
  type DocumentKind,
  type SyntheticQuestion,
  type Wording,
} from "./question.ts";
import { drawGroups, drawMixedCrowd, drawScene, fewestObjects, type SceneNeed } from "./scene.ts";
import { crowdQuestions, sceneQuestions } from "./scene-questions.ts";
import { textQuestions } from "./text-questions.ts";
import type { Facts, Level, Split } from "./world.ts";
import { drawWriting, writingForms, writingQuestions } from "./writing.ts";

/** How often a category is drawn, relative to the others; 0 or absent is never. */
export type CategoryWeights = Readonly<Partial<Record<Category, number>>>;

export interface DocumentSpec {
  readonly seed: number;
  /** Which document of the seed, from 0. */
  readonly index: number;
  readonly split: Split;
  readonly level: Level;
  /** The picture's sides, in pixels. */
  readonly size: number;
  /** Absent: fixed at levels 0 and 1, varied afterwards. */
  readonly wording?: Wording;
  /** Wrong answers to a question (default 3); seven make a choice of eight, where there are so many. */
  readonly wrong?: number;
  /** Absent: all categories alike. */
  readonly weights?: CategoryWeights;
  /** Whether the picture is one grey, whatever it should show: what can still be told then, the texts give away. */
  readonly blank?: boolean;
}

export interface SyntheticDocument {
  readonly id: string;
  /** What the picture shows, and what the answers follow from. */
  readonly facts: Facts;
  /** Absent where the questions need none. */
  readonly picture?: Picture;
  /** At least one; up to four, each of another category. */
  readonly questions: readonly SyntheticQuestion[];
}

const mostQuestions = 4;

/** Throws `config_invalid` where the weights leave nothing that level and split have. */
export function syntheticDocument(spec: DocumentSpec): SyntheticDocument {
  const { facts, questions, painting } = compose(spec);
  const picture = spec.blank ? blankOf(facts, spec.size) : draw(facts, spec.size, painting);
  return { id: documentId(spec), facts, questions, ...(picture && { picture }) };
}

/** The document without its picture: what texts need. Throws as `syntheticDocument` does. */
export function syntheticTexts(spec: Omit<DocumentSpec, "size">): Omit<SyntheticDocument, "picture"> {
  const { facts, questions } = compose(spec);
  return { id: documentId(spec), facts, questions };
}

const documentId = ({ split, level, seed, index }: Omit<DocumentSpec, "size">): string =>
  `${split}-level${level}-${seed}-${index}`;

/** The categories that a level and split have. */
export function categoriesOf(level: Level, split: Split): readonly Category[] {
  const kinds: readonly DocumentKind[] =
    split === "unseen" ? ["scene"] : ["scene", "crowd", "chart", "writing", "text"];
  return kinds.flatMap((kind) => categories[kind].filter((category) => level >= (firstLevel[category] ?? 0)));
}

/** The first level of those categories that need more than one thing in the picture. */
const firstLevel: Readonly<Partial<Record<Category, Level>>> = {
  relation: 1,
  changed: 1,
  count: 1,
  "count-kind": 2,
  bars: 1,
  tallest: 1,
  number: 1,
  word: 2,
};

function compose(spec: Omit<DocumentSpec, "size">) {
  const { seed, index, split, level } = spec;
  const draws = new Draws(randomStream("synthetic", split, level, seed, index));
  const painting = draws.fork();
  const weights = weightsOf(spec);
  const first = draws.weighted(weights);
  const asking = {
    draws,
    split,
    wording: spec.wording ?? (level < 2 ? "fixed" : "varied"),
    wrong: spec.wrong ?? 3,
  } as const;
  const { facts, questionOf } = drawFacts(first, asking, level);
  const questions: SyntheticQuestion[] = [];
  const left = new Map(weights);
  const most = draws.between(mostQuestions - 1, mostQuestions);
  for (let category: Category = first; ; category = draws.weighted([...left])) {
    left.delete(category);
    const question = questionOf(category);
    if (question) questions.push(question);
    if (left.size === 0 || questions.length === most) return { facts, questions, painting };
  }
}

function weightsOf({ level, split, weights }: Omit<DocumentSpec, "size">): (readonly [Category, number])[] {
  const thousandths = (category: Category) =>
    weights === undefined ? 1000 : Math.round(1000 * (weights[category] ?? 0));
  const all = categoriesOf(level, split)
    .map((category) => [category, thousandths(category)] as const)
    .filter(([, weight]) => weight > 0);
  if (all.length > 0) return all;
  const possible = categoriesOf(level, split).join(", ");
  throw new VlRewardError(
    "config_invalid",
    `no category that level ${level} of ${split} has is given a weight; expected a positive one for one of ${possible}`,
  );
}

/** What a document shows, and what can be asked about it. */
interface Drawn {
  readonly facts: Facts;
  readonly questionOf: (category: Category) => SyntheticQuestion | undefined;
}

/** @param first the category of the first question, which must be possible */
function drawFacts(first: Category, asking: Asking, level: Level): Drawn {
  const { draws, split } = asking;
  if (isOf("scene", first)) {
    const need = needs[first] ?? "nothing";
    const facts = drawScene(draws, level, split, need);
    const fewest = fewestObjects(need);
    return drawn(
      facts,
      (category) => isOf("scene", category) && sceneQuestions[category](facts, asking, level, fewest),
    );
  }
  if (isOf("crowd", first)) {
    const facts = first === "count" ? drawMixedCrowd(draws, level, split) : drawGroups(draws, split);
    return drawn(facts, (category) => {
      if (category === "exists") return sceneQuestions.exists({ ...facts, kind: "scene", placed: true }, asking);
      return category === first && crowdQuestions[first](facts, asking, level);
    });
  }
  if (isOf("chart", first)) {
    const fewest = first === "tallest" ? 2 : 1;
    const facts = drawChart(draws, level, fewest);
    return drawn(
      facts,
      (category) => isOf("chart", category) && chartQuestions[category](facts, asking, level, fewest),
    );
  }
  if (isOf("writing", first)) {
    const forms = writingForms[level] ?? [];
    const form = forms.find((form) => form === first) ?? draws.pick(forms);
    const facts = drawWriting(draws, level, form);
    return drawn(facts, (category) => isOf("writing", category) && writingQuestions[category](facts, asking));
  }
  return drawn({ kind: "text" }, (category) => isOf("text", category) && textQuestions[category](asking, level));
}

const drawn = (facts: Facts, questionOf: (category: Category) => SyntheticQuestion | undefined | false): Drawn => ({
  facts,
  questionOf: (category) => questionOf(category) || undefined,
});

const needs: Readonly<Partial<Record<Category, SceneNeed>>> = {
  where: "places",
  at: "places",
  "caption-places": "places",
  relation: "relation",
};

function isOf<Kind extends DocumentKind>(
  kind: Kind,
  category: Category,
): category is (typeof categories)[Kind][number] {
  return categories[kind].some((own) => own === category);
}

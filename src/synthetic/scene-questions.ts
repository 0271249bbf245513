/**
 * @file Questions about scenes and crowds. A question is undefined where the scene has nothing that it could be asked
 * about, such as the place of an object that fills the picture.
 */
import type { Draws } from "./draws.ts";
import { type Asking, ask, askWhether, editsOf, otherValues, range, type SyntheticQuestion } from "./question.ts";
import { aboutWhich, inLine, mostCounted, mostObjects, mostOfKind, withOneFactChanged } from "./scene.ts";
import {
  type Crowd,
  colours,
  column,
  hasKind,
  isNamed,
  type Kind,
  type Level,
  listed,
  namedKinds,
  nameOf,
  neighbour,
  places,
  row,
  type Scene,
  type SceneObject,
  type Split,
  sameKind,
  shapes,
} from "./world.ts";

type SceneAsker = (scene: Scene, asking: Asking, level: Level, fewest: number) => SyntheticQuestion | undefined;

export const sceneQuestions = {
  colour: (scene, asking) => {
    const about = asking.draws.pick(aboutWhich(scene.objects, asking.split));
    const subject = subjectOf(scene, about, "shape", asking.draws);
    const named = (colour: Kind["colour"]) =>
      subject.names === undefined || isNamed({ colour, shape: subject.names.shape }, asking.split);
    return ask("colour", asking, {
      asks: [
        `What colour is ${subject.text}?`,
        `Which colour does ${subject.text} have?`,
        `Name the colour of ${subject.text}.`,
      ],
      says: [
        (colour) => `It is ${colour}.`,
        (colour) => `It has the colour ${colour}.`,
        (colour) => `The colour is ${colour}.`,
      ],
      right: about.colour,
      wrong: otherValues(
        about.colour,
        colours.filter(named),
        scene.objects.map(({ colour }) => colour),
      ),
    });
  },

  shape: (scene, asking) => {
    const about = asking.draws.pick(aboutWhich(scene.objects, asking.split));
    const subject = subjectOf(scene, about, "colour", asking.draws);
    const named = (shape: Kind["shape"]) =>
      subject.names === undefined || isNamed({ colour: subject.names.colour, shape }, asking.split);
    return ask("shape", asking, {
      asks: [
        `What shape is ${subject.text}?`,
        `Which shape does ${subject.text} have?`,
        `Name the shape of ${subject.text}.`,
      ],
      says: [
        (shape) => `It is a ${shape}.`,
        (shape) => `It has the shape of a ${shape}.`,
        (shape) => `The shape is a ${shape}.`,
      ],
      right: about.shape,
      wrong: otherValues(
        about.shape,
        shapes.filter(named),
        scene.objects.map(({ shape }) => shape),
      ),
    });
  },

  where: (scene, asking) => {
    if (!scene.placed) return undefined;
    const about = asking.draws.pick(aboutWhich(scene.objects, asking.split));
    const name = nameOf(about);
    return ask("where", asking, {
      asks: [`Where is the ${name}?`, `In which place is the ${name}?`, `Name the place of the ${name}.`],
      says: [
        (place) => `It is ${places[place]}.`,
        (place) => `You find it ${places[place]}.`,
        (place) => `The ${name} is ${places[place]}.`,
      ],
      right: about.place,
      wrong: otherValues(
        about.place,
        [...places.keys()],
        scene.objects.map(({ place }) => place),
      ),
    });
  },

  at: (scene, asking) => {
    if (!scene.placed) return undefined;
    const { objects } = scene;
    const about = asking.draws.pick(aboutWhich(objects, asking.split));
    const at = places[about.place];
    return ask<Kind>("at", asking, {
      asks: [`What is ${at}?`, `Which object is ${at}?`, `Name the object ${at}.`],
      says: [
        (kind) => `It is a ${nameOf(kind)}.`,
        (kind) => `There is a ${nameOf(kind)}.`,
        (kind) => `The object is a ${nameOf(kind)}.`,
      ],
      right: about,
      wrong: editsOf<Kind>(about, nameOf, (draws) => {
        const other = draws.pick(objects);
        return draws.chance(1, 2) && other !== about ? other : neighbour(draws, about, asking.split);
      }),
    });
  },

  exists: ({ objects }, asking) => {
    const { draws, split } = asking;
    const present = draws.chance(1, 2);
    const about = draws.pick(aboutWhich(objects, split));
    const name = nameOf(present ? about : absentKind(draws, objects, split));
    const asks = [`Is there a ${name}?`, `Do you see a ${name}?`, `Does the picture show a ${name}?`];
    return askWhether("exists", asking, asks, present);
  },

  relation: (scene, asking) => {
    const { draws, split } = asking;
    const pairs = aboutWhich(scene.objects, split).flatMap((about) =>
      scene.objects.filter(({ place }) => inLine(about.place, place)).map((other) => ({ about, other })),
    );
    if (!scene.placed || pairs.length === 0) return undefined;
    const { about, other } = draws.pick(pairs);
    const [name, anchor] = [nameOf(about), nameOf(other)];
    const right = relationOf(about.place, other.place);
    return ask("relation", asking, {
      asks: [`Where is the ${name} seen from the ${anchor}?`, `On which side of the ${anchor} is the ${name}?`],
      says: [(side) => `It is ${side} the ${anchor}.`, (side) => `The ${name} is ${side} the ${anchor}.`],
      right,
      wrong: otherValues<string>(right, relations, []),
    });
  },

  changed: ({ objects }, asking, level, fewest) => {
    const most = mostObjects[level];
    if (fewest === most) return undefined;
    return ask<readonly SceneObject[]>("changed", asking, {
      ...description,
      right: objects,
      wrong: (draws, count) => moreOrFewer(draws, objects, count, fewest, most, asking.split),
    });
  },

  caption: ({ objects }, asking) =>
    ask<readonly SceneObject[]>("caption", asking, {
      ...description,
      right: objects,
      wrong: editsOf(objects, unordered, (draws) => withOneFactChanged(draws, objects, asking.split)),
    }),

  "caption-places": (scene, asking) => {
    if (!scene.placed) return undefined;
    const { objects } = scene;
    const listing = (all: readonly SceneObject[]) =>
      listed(all.map((object) => `a ${nameOf(object)} ${places[object.place]}`));
    return ask<readonly SceneObject[]>("caption-places", asking, {
      asks: ["Describe the picture with places.", "What do you see, and where?", "Which objects are there, and where?"],
      says: description.says.map((_, index) => (all) => `${openings[index]} ${listing(all)}.`),
      right: objects,
      wrong: editsOf(objects, listing, (draws) =>
        draws.chance(1, 2)
          ? withOneMoved(draws, objects, asking.split)
          : withOneFactChanged(draws, objects, asking.split),
      ),
    });
  },
} as const satisfies Readonly<Record<string, SceneAsker>>;

export const crowdQuestions = {
  count: ({ objects }: Crowd, asking: Asking, level: Level) =>
    ask("count", asking, {
      asks: ["How many objects are there?", "Count the objects.", "What is the number of objects?"],
      ...numberSaid,
      right: objects.length,
      wrong: otherValues(objects.length, range(1, mostCounted[level]), []),
    }),

  "count-kind": ({ objects }: Crowd, asking: Asking) => {
    const about = asking.draws.pick(
      objects.filter((object, index) => objects.findIndex((o) => sameKind(o, object)) === index),
    );
    const others = objects.filter((object) => !sameKind(object, about)).length;
    const name = asking.draws.chance(1, 2) ? `${about.colour} objects` : pluralOf(about.shape);
    const count = objects.length - others;
    return ask("count-kind", asking, {
      asks: [`How many ${name} are there?`, `Count the ${name}.`, `What is the number of ${name}?`],
      ...numberSaid,
      right: count,
      wrong: otherValues(count, range(1, mostOfKind), [others]),
    });
  },
};

const pluralOf = (shape: Kind["shape"]): string => (shape === "cross" ? "crosses" : `${shape}s`);

export const numberSaid = {
  says: [
    (count: number) => `It is ${count}.`,
    (count: number) => `I count ${count}.`,
    (count: number) => `The number is ${count}.`,
  ],
};

const namesOf = (objects: readonly Kind[]): string => listed(objects.map((object) => `a ${nameOf(object)}`));

/** The same for every order of the objects, as what is said of them is. */
const unordered = (objects: readonly Kind[]): string => objects.map(nameOf).sort().join();

const openings = ["There is", "I see", "The picture shows"];
const description = {
  asks: ["Describe the picture.", "What do you see?", "Which objects are there?"],
  says: openings.map((opening) => (objects: readonly SceneObject[]) => `${opening} ${namesOf(objects)}.`),
};

const relations = ["left of", "right of", "above", "below"];

/** Where place `a` lies as seen from `b`, which is in line with it. */
function relationOf(a: number, b: number): string {
  if (row(a) === row(b)) return column(a) < column(b) ? "left of" : "right of";
  return row(a) < row(b) ? "above" : "below";
}

/** How a question names an object: by its place, by its colour or shape where no other has it, or as the only one. */
function subjectOf(scene: Scene, about: SceneObject, by: "colour" | "shape", draws: Draws) {
  const { objects, placed } = scene;
  const alike = objects.filter((object) => object[by] === about[by]).length;
  const ways: { readonly text: string; readonly names?: Kind }[] = [];
  if (placed) ways.push({ text: `the object ${places[about.place]}` });
  if (alike === 1)
    ways.push({ text: by === "shape" ? `the ${about.shape}` : `the ${about.colour} object`, names: about });
  if (objects.length === 1) ways.push({ text: "the object" });
  return draws.pick(ways);
}

/** A combination that is not in the scene; half of them take colour and shape from two objects of it. */
function absentKind(draws: Draws, objects: readonly SceneObject[], split: Split): Kind {
  if (split === "unseen")
    return draws.pick(namedKinds(split).filter((kind) => !isNamed(kind, "train") && !hasKind(objects, kind)));
  for (;;) {
    const about = draws.pick(objects);
    const mixed = { colour: about.colour, shape: draws.pick(objects).shape };
    const kind = draws.chance(1, 2) && isNamed(mixed, split) ? mixed : neighbour(draws, about, split);
    if (!hasKind(objects, kind)) return kind;
  }
}

/** The scene with an object at another place: a free one, or that of another object, which comes to its place. */
function withOneMoved(draws: Draws, objects: readonly SceneObject[], split: Split): SceneObject[] {
  const about = draws.pick(aboutWhich(objects, split));
  const place = draws.pick([...places.keys()].filter((other) => other !== about.place));
  const moved = objects.map((object) => {
    if (object === about) return { ...object, place };
    return object.place === place ? { ...object, place: about.place } : object;
  });
  return moved.sort((a, b) => a.place - b.place);
}

/**
 * Scenes with an object less or more. Where the number of objects is the fewest or the most there can be, one fact
 * is changed instead of dropping or adding, so that each number is as often right as wrong.
 */
function moreOrFewer(
  draws: Draws,
  objects: readonly SceneObject[],
  count: number,
  fewest: number,
  most: number,
  split: Split,
): (readonly SceneObject[])[] {
  const size = objects.length;
  const down = Math.floor(count / 2) + (count % 2 === 0 ? 0 : draws.below(2));
  const without = size > fewest ? draws.sample(objects, down).map((gone) => objects.filter((one) => one !== gone)) : [];
  const up = size < most ? count - down : 0;
  const more = editsOf(objects, unordered, (draws) => withOneMore(draws, objects, split))(draws, up);
  const rest = count - without.length - more.length;
  const changed = editsOf(objects, unordered, (draws) => withOneFactChanged(draws, objects, split))(draws, rest);
  return draws.sample([...without, ...more, ...changed], count);
}

function withOneMore(draws: Draws, objects: readonly SceneObject[], split: Split): SceneObject[] {
  const kind = draws.pick(namedKinds(split).filter((other) => !hasKind(objects, other)));
  const at = draws.below(objects.length + 1);
  const [model] = objects;
  if (model === undefined) throw new RangeError("a scene without objects");
  return [...objects.slice(0, at), { ...model, ...kind }, ...objects.slice(at)];
}

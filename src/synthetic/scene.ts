/**
 * @file Scenes and crowds: which objects there are and where. Objects of a scene are drawn evenly from the combinations
 * of colour and shape, all different, and so are their places: no object, and no colour, says anything of another.
 */
import type { Draws } from "./draws.ts";
import {
  type Crowd,
  column,
  isNamed,
  type Kind,
  type Level,
  namedKinds,
  row,
  type Scene,
  type SceneObject,
  type Split,
  side,
  unseenKinds,
} from "./world.ts";

/** How many objects a scene may have, by level. */
export const mostObjects = [1, 2, 3, 5] as const;
/** How many a crowd may have, and how many of a kind. */
export const mostCounted = [4, 4, 5, 8] as const;
export const mostOfKind = 4;

const cell = side / 3;
const allPlaces = [0, 1, 2, 3, 4, 5, 6, 7, 8];

/** Whether two places lie in one row or one column, so that one is left of, right of, above or below the other. */
export const inLine = (a: number, b: number): boolean => a !== b && (row(a) === row(b) || column(a) === column(b));

/** What a question needs of its scene: places to speak of, or two objects that are in line. */
export type SceneNeed = "nothing" | "places" | "relation";

export function drawScene(draws: Draws, level: Level, split: Split, need: SceneNeed): Scene {
  const related = need === "relation";
  const count = draws.between(fewestObjects(need), mostObjects[level]);
  const kinds = drawKinds(draws, count, split);
  if (level === 0 && need === "nothing" && draws.chance(1, 2)) {
    const radius = draws.between(2400, 4200);
    const free = side / 2 - radius;
    const centre = () => side / 2 + draws.between(-free, free);
    return {
      kind: "scene",
      objects: kinds.map((kind) => ({ ...kind, place: 4, x: centre(), y: centre(), radius })),
      placed: false,
    };
  }
  const taken = drawPlaces(draws, count, related).sort((a, b) => a - b);
  const smallest = level === 0 ? 1450 : smallestRadius;
  const objects = taken.map((place, index) => inCell(draws, kinds[index], place, smallest));
  return { kind: "scene", objects, placed: true };
}

export const fewestObjects = (need: SceneNeed): number => (need === "relation" ? 2 : 1);

function drawKinds(draws: Draws, count: number, split: Split): Kind[] {
  if (split !== "unseen") return draws.sample(namedKinds(split), count);
  const about = draws.pick(unseenKinds);
  const others = namedKinds("train").filter((kind) => kind !== about);
  return draws.sample([about, ...draws.sample(others, count - 1)], count);
}

function drawPlaces(draws: Draws, count: number, related: boolean): number[] {
  if (!related) return draws.sample(allPlaces, count);
  const first = draws.pick(allPlaces);
  const second = draws.pick(allPlaces.filter((place) => inLine(first, place)));
  const others = allPlaces.filter((place) => place !== first && place !== second);
  return [first, second, ...draws.sample(others, count - 2)];
}

const smallestRadius = 1150;

function inCell(draws: Draws, kind: Kind | undefined, place: number, smallest = smallestRadius): SceneObject {
  if (kind === undefined) throw new RangeError("fewer kinds than places");
  const radius = draws.between(smallest, 1620);
  const free = cell / 2 - radius;
  const centre = (index: number) => index * cell + cell / 2 + draws.between(-free, free);
  return { colour: kind.colour, shape: kind.shape, place, x: centre(column(place)), y: centre(row(place)), radius };
}

/** Any objects, some perhaps alike: from one to as many as the level has. */
export function drawMixedCrowd(draws: Draws, level: Level, split: Split): Crowd {
  const count = draws.between(1, mostCounted[level]);
  const taken = draws.sample(allPlaces, count).sort((a, b) => a - b);
  return {
    kind: "crowd",
    objects: taken.map((place) => inCell(draws, draws.pick(namedKinds(split)), place)),
  };
}

/** Two groups of objects, each of one colour and one shape, the groups different in both; one to four in a group. */
export function drawGroups(draws: Draws, split: Split): Crowd {
  const [first, second] = drawTwoKinds(draws, split);
  const sizes = [draws.between(1, mostOfKind), draws.between(1, mostOfKind)] as const;
  const taken = draws.sample(allPlaces, sizes[0] + sizes[1]);
  const objects = taken.map((place, index) => inCell(draws, index < sizes[0] ? first : second, place));
  return { kind: "crowd", objects: objects.sort((a, b) => a.place - b.place) };
}

function drawTwoKinds(draws: Draws, split: Split): readonly [Kind, Kind] {
  const first = draws.pick(namedKinds(split));
  const second = draws.pick(
    namedKinds(split).filter(({ colour, shape }) => colour !== first.colour && shape !== first.shape),
  );
  return [first, second];
}

/** The scene with one fact changed: two objects exchange a colour or a shape, or one gets another. */
export function withOneFactChanged(draws: Draws, objects: readonly SceneObject[], split: Split): SceneObject[] {
  const about = draws.pick(aboutWhich(objects, split));
  const changed = draws.chance(1, 2) ? "colour" : "shape";
  if (draws.chance(1, 2)) {
    const partner = draws.pick(objects);
    const exchange = objects.map((object) => {
      if (object === about) return { ...object, [changed]: partner[changed] };
      return object === partner ? { ...object, [changed]: about[changed] } : object;
    });
    if (about[changed] !== partner[changed] && isDescribable(exchange, split)) return exchange;
  }
  const kept = changed === "colour" ? "shape" : "colour";
  const others = namedKinds(split).filter((kind) => kind[kept] === about[kept]);
  const free = others.filter((kind) =>
    objects.every((object) => object[changed] !== kind[changed] || object[kept] !== kind[kept]),
  );
  const kind = draws.pick(free);
  return objects.map((object) => (object === about ? { ...object, ...kind } : object));
}

/** The objects that questions are about: all, and in the split `unseen` those with a combination never seen. */
export function aboutWhich(objects: readonly SceneObject[], split: Split): readonly SceneObject[] {
  return split === "unseen" ? objects.filter((object) => !isNamed(object, "train")) : objects;
}

/** Whether all objects are different and may be named. */
function isDescribable(objects: readonly SceneObject[], split: Split): boolean {
  const names = new Set(objects.map(({ colour, shape }) => `${colour} ${shape}`));
  return names.size === objects.length && objects.every((object) => isNamed(object, split));
}

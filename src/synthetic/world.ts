/**
 * @file What there is in the pictures: colours, shapes, places, and what a document knows of its picture.
 *
 * Eight combinations of colour and shape, one of each colour, are kept for the split `unseen`: elsewhere they are
 * neither drawn nor named, in wrong answers neither. Lengths are whole numbers of units, 10,080 to a side, so that a
 * scene is the same at every size of the picture.
 */
import type { Draws } from "./draws.ts";

export const colours = ["red", "green", "blue", "yellow", "purple", "pink", "black", "cyan"] as const;
export type Colour = (typeof colours)[number];

export const shapes = ["circle", "square", "triangle", "star", "cross", "diamond"] as const;
export type Shape = (typeof shapes)[number];

/** The cells of a grid of three by three, row by row, as answers name them. */
export const places = [
  "at the top left",
  "at the top",
  "at the top right",
  "on the left",
  "in the middle",
  "on the right",
  "at the bottom left",
  "at the bottom",
  "at the bottom right",
] as const;

export const side = 10_080; // units; divides by 2, 3, 5, 7, 9 and 16

export const splits = ["train", "held-out", "unseen"] as const;
/** `train` and `held-out` differ in their seeds; in `unseen` every question is about a combination kept from both. */
export type Split = (typeof splits)[number];

/** 0: one big thing in a picture, 1: up to two, 2: up to three, 3: up to five. */
export type Level = 0 | 1 | 2 | 3;

export interface Kind {
  readonly colour: Colour;
  readonly shape: Shape;
}

export interface SceneObject extends Kind {
  /** Index in `places`. */
  readonly place: number;
  readonly x: number; // units, of the centre
  readonly y: number;
  readonly radius: number;
}

/** Objects in reading order. */
export interface Scene {
  readonly kind: "scene";
  readonly objects: readonly SceneObject[];
  /** Whether one can say where the objects are: a big one fills the picture. */
  readonly placed: boolean;
}

/** As a scene, but with objects that are alike: there is something to count. */
export interface Crowd {
  readonly kind: "crowd";
  readonly objects: readonly SceneObject[];
}

export interface Bar {
  readonly colour: Colour;
  readonly value: number; // 1 to 8
}

/** Bars from left to right; all colours differ, and all values. */
export interface Chart {
  readonly kind: "chart";
  readonly bars: readonly Bar[];
}

export interface Writing {
  readonly kind: "writing";
  readonly text: string;
  readonly colour: Colour;
  readonly height: number; // units, of a letter
  readonly x: number; // units, of the centre
  readonly y: number;
}

export interface NoPicture {
  readonly kind: "text";
}

export type Facts = Scene | Crowd | Chart | Writing | NoPicture;

const kinds: readonly Kind[] = colours.flatMap((colour) => shapes.map((shape) => ({ colour, shape })));

const unseen: Readonly<Record<Colour, Shape>> = {
  red: "triangle",
  green: "star",
  blue: "cross",
  yellow: "square",
  purple: "circle",
  pink: "diamond",
  black: "triangle",
  cyan: "star",
};

export const isUnseen = ({ colour, shape }: Kind): boolean => unseen[colour] === shape;

const seenKinds = kinds.filter((kind) => !isUnseen(kind));
export const unseenKinds: readonly Kind[] = kinds.filter(isUnseen);

/** Which combinations a split may name. */
export const namedKinds = (split: Split): readonly Kind[] => (split === "unseen" ? kinds : seenKinds);

export const isNamed = (kind: Kind, split: Split): boolean => split === "unseen" || !isUnseen(kind);

export const sameKind = (a: Kind, b: Kind): boolean => a.colour === b.colour && a.shape === b.shape;

export const hasKind = (all: readonly Kind[], kind: Kind): boolean => all.some((other) => sameKind(other, kind));

/** "red circle" */
export const nameOf = ({ colour, shape }: Kind): string => `${colour} ${shape}`;

/** "a red circle, a blue star and a green cross" */
export function listed(phrases: readonly string[]): string {
  const last = phrases.at(-1) ?? "";
  return phrases.length < 2 ? last : `${phrases.slice(0, -1).join(", ")} and ${last}`;
}

export const row = (place: number): number => Math.floor(place / 3);
export const column = (place: number): number => place % 3;

/** Another combination with the same colour or the same shape; half of the draws change the colour. */
export function neighbour(draws: Draws, kind: Kind, split: Split): Kind {
  const alike = (other: Kind, changed: "colour" | "shape") => other[changed] !== kind[changed];
  const changed = draws.chance(1, 2) ? "colour" : "shape";
  const kept = changed === "colour" ? "shape" : "colour";
  return draws.pick(namedKinds(split).filter((other) => other[kept] === kind[kept] && alike(other, changed)));
}

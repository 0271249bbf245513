/**
 * @file A font of our own, five dots wide and seven high: capital letters and digits.
 */

export const glyphWidth = 5;
export const glyphHeight = 7;

/** Rows from the top, a dot where there is a "#". */
const drawings = `
A .###. #...# #...# ##### #...# #...# #...#
B ####. #...# #...# ####. #...# #...# ####.
C .#### #.... #.... #.... #.... #.... .####
D ####. #...# #...# #...# #...# #...# ####.
E ##### #.... #.... ####. #.... #.... #####
F ##### #.... #.... ####. #.... #.... #....
G .#### #.... #.... #..## #...# #...# .####
H #...# #...# #...# ##### #...# #...# #...#
I .###. ..#.. ..#.. ..#.. ..#.. ..#.. .###.
J ..### ...#. ...#. ...#. ...#. #..#. .##..
K #...# #..#. #.#.. ##... #.#.. #..#. #...#
L #.... #.... #.... #.... #.... #.... #####
M #...# ##.## #.#.# #.#.# #...# #...# #...#
N #...# ##..# ##..# #.#.# #..## #..## #...#
O .###. #...# #...# #...# #...# #...# .###.
P ####. #...# #...# ####. #.... #.... #....
Q .###. #...# #...# #...# #.#.# #..#. .##.#
R ####. #...# #...# ####. #.#.. #..#. #...#
S .#### #.... #.... .###. ....# ....# ####.
T ##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..
U #...# #...# #...# #...# #...# #...# .###.
V #...# #...# #...# #...# #...# .#.#. ..#..
W #...# #...# #...# #.#.# #.#.# ##.## #...#
X #...# #...# .#.#. ..#.. .#.#. #...# #...#
Y #...# #...# .#.#. ..#.. ..#.. ..#.. ..#..
Z ##### ....# ...#. ..#.. .#... #.... #####
0 .###. #..## #.#.# #.#.# #.#.# ##..# .###.
1 ..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.
2 .###. #...# ....# ..##. .#... #.... #####
3 ####. ....# ....# .###. ....# ....# ####.
4 ...#. ..##. .#.#. #..#. ##### ...#. ...#.
5 ##### #.... ####. ....# ....# #...# .###.
6 ..##. .#... #.... ####. #...# #...# .###.
7 ##### ....# ...#. ..#.. ..#.. .#... .#...
8 .###. #...# #...# .###. #...# #...# .###.
9 .###. #...# #...# .#### ....# ...#. .##..
`;

/** A run of dots: first column, column after the last one, row. */
export type Run = readonly [from: number, to: number, row: number];

const glyphs = new Map(
  drawings
    .trim()
    .split("\n")
    .map((line) => [line[0] ?? "", runsOf(line.slice(2).split(" "))] as const),
);

function runsOf(rows: readonly string[]): Run[] {
  return rows.flatMap((dots, row) =>
    [...dots.matchAll(/#+/g)].map(({ index, 0: run }): Run => [index, index + run.length, row]),
  );
}

/** Throws a RangeError for a character that the font does not have. */
export function glyphOf(character: string): readonly Run[] {
  const glyph = glyphs.get(character);
  if (glyph === undefined) throw new RangeError(`the font has no ${JSON.stringify(character)}`);
  return glyph;
}

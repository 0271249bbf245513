/** @file Every file that the documentation and the comments name is there: names outlive the moves of files otherwise. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const rooms = ["bench", "bin", "docs", "examples", "models", "native", "recipes", "setup", "src", "test"];

const inRooms = rooms.flatMap((room) =>
  readdirSync(join(root, room), { recursive: true, encoding: "utf8" }).map((name) => `${room}/${name}`),
);
const all = [...inRooms, ...rooms, ...readdirSync(root)];
const there = new Set(all);
/** Every end of a path: `image.ts`, `media/image.ts`. */
const ends = new Set(all.flatMap((path) => path.split("/").map((_, at, parts) => parts.slice(at).join("/"))));

const code = inRooms.filter((path) => /^(bench|setup|src|test)\/.*\.(ts|mjs)$/.test(path));
const documents = all.filter((path) => /^(README|docs\/[\w-]+|bench\/README)\.md$/.test(path));

const comments = (text: string): string =>
  [...text.matchAll(/\/\*\*.*?\*\/|(?<=^|\s)\/\/ .*?$/gms)].map(([comment]) => comment).join("\n");

/** What looks like a file of ours, and is none. A path from the root is to be exact, others may begin anywhere. */
function absentIn(text: string): string[] {
  const fromRoot = new RegExp(`(?<![\\w./@:~<>-])(?:${rooms.join("|")})/[\\w./-]*`, "g");
  const sources = /(?<![\w./@:~<>*-])(?:[\w-]+\/)*[\w-]+(?:\.[\w-]+)*\.(?:ts|mjs|cc)\b/g;
  const paths = (text.match(fromRoot) ?? []).map((path) => path.replace(/[./]+$/, ""));
  const names = (text.match(sources) ?? []).filter((name) => !rooms.some((room) => name.startsWith(`${room}/`)));
  return [...paths.filter((path) => !there.has(path)), ...names.filter((name) => !ends.has(name))];
}

test("documents and comments name files that are there", () => {
  const stale = [...documents, ...code].flatMap((file) => {
    const text = readFileSync(join(root, file), "utf8");
    return absentIn(file.endsWith(".md") ? text : comments(text)).map((name) => `${file}: ${name}`);
  });
  expect(stale).toEqual([]);
  expect(documents.length).toBeGreaterThan(5);
});

/** No compiler looks into the texts of child programs, where imports are spelt dist/..., dist("...") or dist + "/...". */
const built = /\bdist(?:\/|\("| \+ "\/)([\w/-]+)\.js\b/g;

test("programs in texts import what is built", () => {
  const ownDist = "test/setup/typescript.test.ts"; // compiles sources of its own
  const found = code
    .filter((file) => file !== ownDist)
    .flatMap((file) => [...readFileSync(join(root, file), "utf8").matchAll(built)].map(([, name]) => ({ file, name })));
  expect(found.filter(({ name }) => !there.has(`src/${name}.ts`))).toEqual([]);
  expect(found.length).toBeGreaterThan(20);
});

test("a name that leads nowhere is found", () => {
  expect(absentIn("`src/torch/ops.ts`, docs/cli.md, media/image.ts, (ops.ts), src/nn/, test/docs.test.ts.")).toEqual(
    [],
  );
  const stale = ["src/ops.ts", "docs/no.md", "src/no", "images/image.ts", "no.test.ts", "no.mjs"];
  expect(absentIn(`See ${stale.join(", ")}.`).sort()).toEqual(stale.toSorted());
});

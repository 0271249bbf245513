import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { z } from "zod";
import { root, run } from "./command.ts";

const part = z.union([
  z.strictObject({ type: z.literal("image"), image: z.string() }),
  z.strictObject({ type: z.literal("text"), text: z.string() }),
]);
const wireExample = z.strictObject({
  id: z.string(),
  source: z.string(),
  messages: z.tuple([z.strictObject({ role: z.literal("user"), content: z.union([z.string(), z.array(part)]) })]),
  responses: z.array(z.string()),
  right: z.int(),
});

const linesOf = (text: string) => text.trimEnd().split("\n");
const examples = linesOf(readFileSync(join(root, "examples/examples.jsonl"), "utf8")).map((line) =>
  wireExample.parse(JSON.parse(line)),
);
type Example = (typeof examples)[number];

function asked({ messages: [{ content }] }: Example): { question: string; picture: string | undefined } {
  const parts = typeof content === "string" ? [{ type: "text" as const, text: content }] : content;
  const [picture] = parts.flatMap((part) => (part.type === "image" ? [part.image] : []));
  return { question: parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join(""), picture };
}

const folder = mkdtempSync(join(tmpdir(), "vl-reward-demo-"));
beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("in a pipe the demo", () => {
  let stdout = "";
  let scores: readonly (readonly number[])[] = [];
  beforeAll(async () => {
    const demo = await run(["demo"], "", { FORCE_COLOR: undefined });
    expect(demo.code).toBe(0);
    stdout = demo.stdout;
    const scored = await run(["score", "examples/examples.jsonl"]);
    expect(scored.code).toBe(0);
    scores = linesOf(scored.stdout).map((line) => JSON.parse(line).scores);
  });

  it("shows of each example the picture's name, the question, and the answers that score prints, best first", () => {
    expect(scores).toHaveLength(examples.length);
    for (const [index, example] of examples.entries()) {
      const { question, picture } = asked(example);
      const named = picture ? `${example.id} (${picture.replace("pictures/", "")})` : example.id;
      const ranked = example.responses
        .map((text, at) => ({ text, score: scores[index]?.[at] ?? Number.NaN, mark: at === example.right ? "✓" : "✗" }))
        .sort((a, b) => b.score - a.score)
        .map(({ text, score, mark }) => `${mark} ${score.toFixed(3).padStart(7)}  ${text}`);
      const verdict = ranked[0]?.startsWith("✓") ? "right" : "wrong";
      const block = [named, question, ...ranked, "", `The model's choice is ${verdict}.`].join("\n");
      expect(stdout.replaceAll(/\n {11}/g, " ")).toContain(`${block}\n`);
    }
  });

  it("marks one answer of each example as right, and says how often the model put it first", () => {
    expect(stdout.match(/✓/g)).toHaveLength(examples.length);
    const wrong = examples.filter(({ right }, index) => {
      const found = scores[index] ?? [];
      return found.indexOf(Math.max(...found)) !== right;
    });
    const [outcome = ""] = stdout.replaceAll("\n", " ").match(/\d+ of \d+ right.*?\./) ?? [];
    expect(outcome).toMatch(new RegExp(`^${examples.length - wrong.length} of ${examples.length} right`));
    expect(outcome.match(/\w+-\d+/g) ?? []).toEqual(wrong.map(({ id }) => id));
  });

  it("says how many numbers the model's files hold", () => {
    const numbers = ["model", "value_head"].flatMap((name) => tensorSizes(`models/tiny/${name}.safetensors`));
    const millions = numbers.reduce((sum, size) => sum + size, 0) / 1e6;
    expect(stdout.replaceAll("\n", " ")).toContain(`architecture and ${millions.toFixed(1)} million parameters`);
  });

  it("has no escape codes and no line but the command that is longer than 80 characters", () => {
    expect(stdout).not.toContain("\u001b");
    const long = linesOf(stdout).filter((line) => line.length > 80);
    expect(long.map((line) => line.trim().split(" ")[0])).toEqual(["node"]);
  });
});

describe("with colours", () => {
  it("each picture stands beside its question, twelve rows of 24 cells", async () => {
    const { stdout } = await run(["demo"], "", { FORCE_COLOR: "3" });
    const rows = linesOf(stdout).filter((line) => line.includes("▀"));
    const pictured = examples.filter((example) => asked(example).picture !== undefined);
    expect(rows).toHaveLength(12 * pictured.length);
    for (const row of rows) expect(row.match(/▀/g)).toHaveLength(24);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what is looked for
    const plain = linesOf(stdout).map((line) => line.replaceAll(/\x1b\[[\d;]*m/g, ""));
    expect(plain.filter((line) => line.length > 80)).toHaveLength(1); // the command
    for (const example of examples) expect(plain.join("\n")).toContain(asked(example).question);
  });
});

test("examples and their pictures are what make-examples.mjs makes", async () => {
  execFileSync(process.execPath, [join(root, "examples/make-examples.mjs"), folder]);
  const shipped = join(root, "examples");
  expect(readFileSync(join(folder, "examples.jsonl"))).toEqual(readFileSync(join(shipped, "examples.jsonl")));
  const pictures = readdirSync(join(folder, "pictures"));
  expect(pictures).toEqual(
    examples.flatMap((example) => asked(example).picture?.slice("pictures/".length) ?? []).sort(),
  );
  for (const name of pictures) {
    const [made, kept] = await Promise.all(
      [folder, shipped].map((where) =>
        sharp(join(where, "pictures", name))
          .raw()
          .toBuffer(),
      ),
    );
    expect(made?.equals(kept ?? Buffer.alloc(0)), name).toBe(true);
  }
});

/** Read from the header of a safetensors file: its length in eight bytes, then JSON. */
function tensorSizes(file: string): number[] {
  const bytes = readFileSync(join(root, file));
  const { __metadata__, ...tensors } = JSON.parse(
    bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString("utf8"),
  );
  return Object.values(z.record(z.string(), z.object({ shape: z.array(z.int()) })).parse(tensors)).map(({ shape }) =>
    shape.reduce((product, length) => product * length, 1),
  );
}

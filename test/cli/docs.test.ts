import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { type CategoryResult, kindOf, readEvaluation } from "../../src/benchmarks/synthetic/evaluation.ts";
import { errorCodes } from "../../src/errors.ts";

it("docs/cli.md lists every error code with its meaning, in the order of src/errors.ts", () => {
  const docs = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");
  const table = docs.slice(docs.indexOf("## Error codes"));
  const rows = [...table.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
  expect(rows).toEqual(Object.entries(errorCodes));
});

it("README.md shows examples/records.jsonl as it is", () => {
  const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
  expect(read("README.md")).toContain(`\`\`\`jsonl\n${read("examples/records.jsonl")}\`\`\`\n`);
});

it("README.md has the figures of models/tiny/evaluation.json", () => {
  const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
  const { heldOut, unseen, questions, seed } = readEvaluation(read("models/tiny/evaluation.json"), "evaluation.json");
  const supported = heldOut.filter(({ pairs }) => pairs.accuracy >= 0.75);
  const percent = (shares: readonly number[]) => (100 * (shares.reduce((a, b) => a + b, 0) / shares.length)).toFixed(1);
  const row = (what: string, results: readonly Omit<CategoryResult, "sizes">[]) => {
    const [lowest] = results.toSorted((a, b) => a.pairs.accuracy - b.pairs.accuracy);
    const blind = results.flatMap(({ control }) => (control ? [control.accuracy] : []));
    return [
      what,
      percent(results.map(({ pairs }) => pairs.accuracy)),
      `\`${lowest?.category}\` ${percent([lowest?.pairs.accuracy ?? 0])}`,
      percent(results.map(({ choice }) => choice.accuracy)),
      blind.length > 0 ? percent(blind) : "–",
    ];
  };
  const kinds = {
    scene: "scenes of shapes",
    crowd: "counting",
    chart: "bar charts",
    writing: "writing",
    text: "texts, no picture",
  };
  const expected = [
    ...Object.entries(kinds).map(([kind, label]) =>
      row(
        label,
        supported.filter(({ category }) => kindOf(category) === kind),
      ),
    ),
    row("combinations it never saw", unseen),
  ];
  const section = read("README.md").split("## What the embedded model can judge")[1]?.split("\n## ")[0] ?? "";
  const rows = [...section.matchAll(/^\| (.*) \|$/gm)].map(([, cells = ""]) => cells.split(" | "));
  expect(rows.slice(1)).toEqual(expected);
  const unsupported = heldOut.filter((one) => !supported.includes(one)).map(({ category }) => `\`${category}\``);
  expect(section.replaceAll("\n", " ")).toContain(`Not supported, below 75%: ${unsupported.join(", ")}.`);
  expect(section).toContain(questions.toLocaleString("en"));
  expect(section).toContain(`seed ${seed}`);
});

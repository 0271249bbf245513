/** @file What `npm test` says at its end, from the report of a real run of vitest; and that every skip gives its reason. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { countLine, skippedLines, type TestReport } from "../../setup/test-report.mjs";
import { repository, Sandbox } from "./sandbox.ts";

const tests = `
import { describe, expect, it } from "vitest";
it("runs", () => {});
it("fails", () => expect(1).toBe(2));
it.skip("draws (needs a GPU)", () => {});
describe.skip("the published files (needs ../shared)", () => {
  it.each(["a", "b"])("%s", () => {});
  it("is quick (needs a GPU)", () => {});
});
describe("here", () => {
  it.skip("counts (needs a GPU) twice", () => {});
  it.skip("nobody knows why", () => {});
});
`;

function reportOf(files: Record<string, string>): TestReport {
  const sandbox = new Sandbox();
  sandbox.linkNodeModules(".");
  for (const [name, text] of Object.entries(files)) sandbox.write(name, text);
  const vitest = join(repository, "node_modules/vitest/vitest.mjs");
  const report = sandbox.path("report.json");
  spawnSync(process.execPath, [vitest, "run", "--root", sandbox.folder, "--reporter=json", `--outputFile=${report}`]);
  return JSON.parse(readFileSync(report, "utf8"));
}

it("groups the skipped by what they need, and counts a file that cannot be read as failed", () => {
  const report = reportOf({ "one.test.ts": tests, "two.test.ts": "import './absent.ts';" });
  expect(skippedLines(report)).toEqual([
    "skipped, needs a GPU:",
    "  draws",
    "  here > counts twice",
    "skipped, needs ../shared:",
    "  the published files (3 tests)",
    "skipped, for a reason that is not in the title:",
    "  here > nobody knows why",
  ]);
  expect(countLine(report)).toBe("1 passed, 2 failed, 6 skipped");
  expect(countLine(undefined)).toBe("0 passed, 1 failed");
});

it("says nothing of what was not skipped", () => {
  const report = reportOf({ "one.test.ts": `import { it } from "vitest";\nit("runs (needs a GPU)", () => {});\n` });
  expect([skippedLines(report), countLine(report)]).toEqual([[], "1 passed, 0 failed"]);
});

it("has a reason for every test of ours that may be skipped", () => {
  const files = ["src", "test"].flatMap((folder) =>
    readdirSync(join(repository, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".test.ts"))
      .map((name) => join(folder, name)),
  );
  for (const file of files.filter((name) => !name.endsWith("test-report.test.ts"))) {
    const text = readFileSync(join(repository, file), "utf8");
    for (const [, title = ""] of text.matchAll(/\.skipIf\(.*?\)\(\s*(["`].*)/g))
      expect(title, file).toMatch(/\(needs /);
    const [skips, titled] = [/\.skipIf\(/g, /\.skipIf\(.*?\)\(\s*["`]/g].map((pattern) => text.match(pattern)?.length);
    expect(skips, file).toBe(titled); // a title that is not read here would not be checked
    expect(text, file).not.toMatch(/\{ skip \}|\.skip\(/);
  }
});

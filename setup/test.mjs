/**
 * @file `npm test`: sets up what is missing, then lint, layers, build, types and tests. All of them run, and the end
 * says which failed, which tests were skipped and why, and how many there were. Arguments go to vitest: `npm test -- src/media`.
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { requireNode } from "./node-version.mjs";

requireNode();
const { say, sayError, seconds } = await import("./console.mjs");
const { ensureAddon, ensureDist, ensureNodeModules, ensureWeb, here } = await import("./ensure.mjs");
const { readJson } = await import("./files.mjs");
const { countLine, skippedLines } = await import("./test-report.mjs");

const results = join(here.root, "build", "test-results.json");
const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${results}`];

const colors = process.stdout.isTTY ? [] : ["--colors=off"];

/** @type {[title: string, work: () => void | Promise<void>][]} */
const steps = [
  ["addon", () => ensureAddon(here)],
  ["lint", () => tool("@biomejs/biome/bin/biome", "ci", ...colors, ".")],
  ["layers", () => tool("dependency-cruiser/bin/dependency-cruise.mjs", "src")],
  [
    "build",
    async () => {
      await ensureDist(here);
      await ensureWeb(here);
    },
  ], // before the types: tests import the package by its name
  [
    "types",
    () => {
      for (const project of [".", "web"]) tool("typescript/bin/tsc", "-p", project, "--noEmit");
    },
  ],
  ["tests", () => tool("vitest/vitest.mjs", "run", ...reporters, ...process.argv.slice(2))],
];

/** A tool found something, and has said what. */
class Found extends Error {}

try {
  await ensureNodeModules(here);
} catch (error) {
  sayError(error);
  process.exit(2);
}
rmSync(results, { force: true });

/** @type {string[]} */
const failed = [];
for (const [title, work] of steps) {
  const start = performance.now();
  say(`\n== ${title}`);
  try {
    await work();
    say(`== ${title}: passed (${seconds(performance.now() - start)})`);
  } catch (error) {
    if (!(error instanceof Found)) sayError(error);
    say(`== ${title}: FAILED (${seconds(performance.now() - start)})`);
    failed.push(title);
  }
}
say(failed.length === 0 ? "\nAll steps passed." : `\nFailed: ${failed.join(", ")}`);
const report = /** @type {import("./test-report.mjs").TestReport | undefined} */ (readJson(results));
if (report !== undefined) for (const line of skippedLines(report)) say(line);
console.log(countLine(report));
process.exitCode = failed.length === 0 ? 0 : 1;

/**
 * @param {string} script below node_modules
 * @param {string[]} args
 */
function tool(script, ...args) {
  const { status } = spawnSync(process.execPath, [join(here.root, "node_modules", script), ...args], {
    cwd: here.root,
    stdio: "inherit",
  });
  if (status !== 0) throw new Found(`exit code ${status}`);
}

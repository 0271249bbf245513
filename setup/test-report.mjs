/**
 * @file What `npm test` says at its end, out of vitest's JSON report: which tests were skipped and why, and the counts.
 * A test that may be skipped says in its title, or in that of a group around it, what it needs: "(needs a GPU)".
 */

/**
 * @typedef {object} TestReport
 * @property {number} numPassedTests
 * @property {number} numFailedTests
 * @property {number} numPendingTests skipped ones
 * @property {FileReport[]} testResults
 *
 * @typedef {object} FileReport
 * @property {string} status
 * @property {{ status: string, title: string, ancestorTitles: string[] }[]} assertionResults
 */

const need = /\(needs ([^()]+)\)/;

/**
 * The skipped tests by what they need, one line for each or for the group that is skipped as a whole; nothing when all ran.
 *
 * @param {TestReport} report
 * @returns {string[]} lines
 */
export function skippedLines({ testResults }) {
  /** @type {Map<string, Map<string, number>>} how many of each title, by need */
  const byNeed = new Map();
  for (const { status, title, ancestorTitles } of testResults.flatMap(({ assertionResults }) => assertionResults)) {
    if (status !== "skipped" && status !== "pending") continue;
    const titles = [...ancestorTitles, title].filter((part) => part !== "");
    const at = titles.findIndex((part) => need.test(part));
    const missing = need.exec(titles[at] ?? "")?.[1];
    const key = missing === undefined ? "for a reason that is not in the title" : `needs ${missing}`;
    const shown = titles
      .slice(0, at + 1 || titles.length)
      .join(" > ")
      .replace(need, "")
      .replace(/ +/g, " ")
      .trim();
    const counts = byNeed.get(key) ?? new Map();
    byNeed.set(key, counts.set(shown, (counts.get(shown) ?? 0) + 1));
  }
  return [...byNeed].flatMap(([key, counts]) => [
    `skipped, ${key}:`,
    ...[...counts].map(([title, count]) => `  ${title}${count > 1 ? ` (${count} tests)` : ""}`),
  ]);
}

/**
 * The tests in one line; a test file that could not even be read counts as one that failed.
 *
 * @param {TestReport | undefined} report undefined when there is none, because vitest itself did not come to an end
 */
export function countLine(report) {
  if (report === undefined) return "0 passed, 1 failed";
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status === "failed" && assertionResults.length === 0,
  );
  const skipped = report.numPendingTests > 0 ? `, ${report.numPendingTests} skipped` : "";
  return `${report.numPassedTests} passed, ${report.numFailedTests + broken.length} failed${skipped}`;
}

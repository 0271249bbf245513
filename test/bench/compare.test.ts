/**
 * @file bench/compare.mjs: turns, medians and spread with a reference whose seconds are known, and a machine that is not quiet. The
 * reference is a program of its own, as transformers is.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, it, onTestFinished } from "vitest";
import { bearable, busiest, othersBusy, processes, processOf } from "../../bench/quiet.mjs";

const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "vl-reward-compare-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Says that its passes took 9 s and then 4, 1, 2 s, run by run, and gives every answer the score 0. */
const reference = join(folder, "reference.mjs");
writeFileSync(
  reference,
  `import { appendFileSync, existsSync, readFileSync } from "node:fs";
const log = process.env.LOG, calls = existsSync(log) ? readFileSync(log, "utf8").split("\\n").length - 1 : 0;
appendFileSync(log, process.argv.slice(2).join(" ") + "\\n");
for (const line of readFileSync(process.argv[3], "utf8").trim().split("\\n")) {
  const { id, responses } = JSON.parse(line);
  console.log(JSON.stringify({ id, scores: responses.map(() => 0), best: 0 }));
}
console.error(JSON.stringify({ seconds: [9, [4, 1, 2][calls]].map((forward) => ({ processing: 0.1, forward })) }));
`,
);

function compare(...args: readonly string[]): ReturnType<typeof spawnSync> {
  const env = { ...process.env, VL_REWARD_REFERENCE: process.execPath, VL_REWARD_REFERENCE_SCRIPT: reference };
  return spawnSync(process.execPath, ["bench/compare.mjs", "--model", "models/tiny", "--only", "text pair", ...args], {
    cwd: root,
    encoding: "utf8",
    env: { ...env, LOG: join(folder, "calls.log") },
  });
}

it("takes turns on the same records and gives medians, spread, ratios and the difference of scores", () => {
  const output = join(folder, "compared.json");
  const { status, stdout } = compare("--rounds", "3", "--watch", "0.2", "--anyway", "--output", output);
  expect([0, 3]).toContain(status); // 3 where other tests run beside this one
  const { workloads, turns } = JSON.parse(readFileSync(output, "utf8"));
  const [{ name, theirs, ours, ratio, difference }] = workloads;
  expect([name, theirs]).toEqual(["text pair", { median: 2, least: 1, most: 4 }]);
  const own: number[] = turns["text pair"].ours.map(({ seconds }: { seconds: number }) => seconds);
  expect(own).toHaveLength(3);
  expect(ours.median).toBe(own.toSorted((a, b) => a - b)[1]);
  const ratios = [4, 1, 2].map((seconds, round) => seconds / (own[round] ?? Number.NaN)).sort((a, b) => a - b);
  expect(ratio).toEqual({ median: ratios[1], least: ratios[0], most: ratios[2] });
  const scores: number[] = turns["text pair"].ours[0].scores;
  expect(difference).toBe(Math.max(...scores.map(Math.abs)));
  expect(stdout).toContain("2.00s (1.00 to 4.00)");
  const calls = readFileSync(join(folder, "calls.log"), "utf8").trim().split("\n");
  expect(calls).toHaveLength(3);
  expect(new Set(calls).size).toBe(1);
});

it("names who keeps a machine busy, and measures nothing", () => {
  const busy = spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" });
  try {
    const { status, stdout, stderr } = compare("--watch", "1");
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/The machine is not quiet: [\d.]+ of \d+ processors are busy/);
    expect(stderr).toContain("Nothing was measured.");
  } finally {
    busy.kill("SIGKILL");
  }
});

it.skipIf(process.platform !== "linux")("sees what a process does (needs Linux)", async () => {
  const busy = spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" });
  onTestFinished(() => void busy.kill("SIGKILL"));
  const time = (): number => (busy.pid === undefined ? 0 : (processes().get(busy.pid)?.time ?? 0));
  const early = time();
  while (time() < early + 100) await sleep(20); // the test's own limit ends it where nothing is seen
});

it("asks for the reference", () => {
  const { status, stderr } = spawnSync(process.execPath, ["bench/compare.mjs"], { cwd: root, encoding: "utf8" });
  expect([status, stderr]).toEqual([2, expect.stringContaining("--reference PYTHON --reference-script FILE")]);
});

it("counts what is not our own work", () => {
  const before = { time: 1000, busy: 50_000, own: 300 };
  expect(othersBusy(before, { time: 3000, busy: 53_000, own: 2300 })).toBe(0.5);
  expect(othersBusy(before, { time: 3000, busy: 51_990, own: 2300 })).toBe(0); // clocks of different grain
  expect(bearable).toBeLessThan(0.5);
});

it("reads processes whose names hold brackets and spaces", () => {
  const stat = (name: string, user: number, system: number): string =>
    `77 (${name}) R 1 77 77 0 -1 4194304 100 0 0 0 ${user} ${system} 5 6 20 0 1 0 100 1000 50`;
  expect(processOf(stat("a (b) c", 150, 50))).toEqual({ name: "a (b) c", time: 2000 });
  expect(processOf("")).toBeUndefined();
  const at = (time: number) => new Map([[77, { name: "ffmpeg", time }]]);
  expect(busiest(at(1000), at(2800), 2000)).toEqual(["ffmpeg (process 77): 0.9 of a processor"]);
  expect(busiest(at(1000), at(1010), 2000)).toEqual([]);
});

/** @file Launching ranks, with real small programs under a launcher that is a process itself. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { ensureDist, here } from "../../setup/ensure.mjs";
import { oneRequest } from "./processes.ts";

beforeAll(() => ensureDist(here));

const module = pathToFileURL(`${here.root}/dist/training/processes.js`).href;

interface Launched {
  readonly child: ChildProcess;
  readonly printed: () => { stdout: string; stderr: string };
  readonly ended: Promise<{
    code: number | null;
    signal: string | null;
    stdout: string;
    stderr: string;
  }>;
}

/** A launcher of `processes` times the program, which has `rank` and `say` in scope. */
function launch(processes: number, program: string): Launched {
  const rank = `
    const rank = Number(process.env.RANK);
    const say = (text) => process.stdout.write(text + "\\n");
    const { endWithLauncher } = await import(${JSON.stringify(module)});
    setTimeout(() => process.exit(99), 50_000).unref();
    ${program}`;
  const launcher = `
    import { runProcesses } from ${JSON.stringify(module)};
    const args = ["--input-type=module", "-e", process.argv[1]];
    process.exitCode = await runProcesses({ command: process.execPath, args, processes: ${processes} });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", launcher, rank], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      printed[name] += text;
    });
  }
  const ended = once(child, "close").then(([code, signal]) => ({
    code,
    signal,
    ...printed,
  }));
  return { child, printed: () => printed, ended };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(20);
}

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("every rank has its environment; rank 0 prints as it is, the others to standard error", async () => {
  const { ended } = launch(
    3,
    `
    const { RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT } = process.env;
    say(JSON.stringify([RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, Number(MASTER_PORT) > 0]));
    process.stderr.write("no newline at the end");`,
  );
  const { code, stdout, stderr } = await ended;
  expect({ code, stdout }).toEqual({ code: 0, stdout: '["0","3","0","3","127.0.0.1",true]\n' });
  expect(
    stderr
      .split(/\n|(?=\[rank)/)
      .filter(Boolean)
      .sort(),
  ).toEqual([
    '[rank 1] ["1","3","1","3","127.0.0.1",true]',
    "[rank 1] no newline at the end",
    '[rank 2] ["2","3","2","3","127.0.0.1",true]',
    "[rank 2] no newline at the end",
    "no newline at the end",
  ]);
});

describe("one that dies ends the others", () => {
  const wait = "setInterval(() => {}, 1000);";

  test("by its exit code", async () => {
    const { code, stderr } = await launch(3, `if (rank === 1) process.exit(5); ${wait}`).ended;
    expect({ code, stderr }).toEqual({ code: 5, stderr: "rank 1 ended with exit code 5; ending the other 2\n" });
  });

  test("by a signal", async () => {
    const { code, stderr } = await launch(2, `if (rank === 1) process.kill(process.pid, "SIGKILL"); ${wait}`).ended;
    expect({ code, stderr }).toEqual({ code: 137, stderr: "rank 1 was killed by SIGKILL; ending the other one\n" });
  });

  test("one that does not hear is killed within 30 s", async () => {
    const deaf = `process.on("SIGTERM", () => {}); ${wait} if (rank === 1) setTimeout(() => process.exit(3), 3000);`;
    const { code, stderr } = await launch(2, deaf).ended;
    expect({ code, stderr: stderr.split("\n") }).toEqual({
      code: 3,
      stderr: ["rank 1 ended with exit code 3; ending the other one", "rank 0 did not end within 20 s; killing it", ""],
    });
  });

  test("but one that is done does not", async () => {
    const { code, stdout } = await launch(2, `if (rank === 0) setTimeout(() => say("done"), 1500);`).ended;
    expect({ code, stdout }).toEqual({ code: 0, stdout: "done\n" });
  });
});

test("a program that does not exist", async () => {
  const launcher = `
    import { runProcesses } from ${JSON.stringify(module)};
    process.exitCode = await runProcesses({ command: "/no/such/program", args: [], processes: 2 });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", launcher], { stdio: ["ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  expect(await once(child, "close")).toEqual([127, null]);
  expect(stderr).toMatch(/^rank 0 could not be started: .*ENOENT/);
});

describe("signals", () => {
  const saving = `
    process.on("SIGINT", () => { say("saved " + rank); process.exit(130); });
    say("ready " + rank);
    setInterval(() => {}, 1000);`;
  const ready = ({ printed }: Launched) => {
    const { stdout, stderr } = printed();
    return stdout.includes("ready 0") && stderr.includes("ready 1");
  };

  test("one to the launcher reaches every rank once", async () => {
    const launched = launch(2, saving);
    await until(() => ready(launched));
    launched.child.kill("SIGINT");
    const { code, stdout, stderr } = await launched.ended;
    expect({ code, stdout, stderr }).toEqual({
      code: 130,
      stdout: "ready 0\nsaved 0\n",
      stderr: "[rank 1] ready 1\n[rank 1] saved 1\n",
    });
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "a second one, %s, ends ranks that are still at it",
    async (second) => {
      const launched = launch(2, saving.replace("process.exit(130)", ""));
      await until(() => ready(launched));
      launched.child.kill("SIGINT");
      await until(() => launched.printed().stdout.includes("saved 0"));
      await sleep(oneRequest + 100);
      launched.child.kill(second);
      const { code, stderr } = await launched.ended;
      expect(code).toBe(137);
      expect(stderr).not.toContain("did not end within"); // nobody waited for them
    },
  );

  test("several at once are one, and a terminal that is gone takes nothing with it", async () => {
    const launched = launch(
      2,
      `process.on("SIGHUP", () => setTimeout(() => { say("saved " + rank); process.exit(129); }, 300));
      ${saving}`,
    );
    await until(() => ready(launched));
    launched.child.stderr?.destroy(); // whatever is said there now is an error
    launched.child.kill("SIGHUP");
    await sleep(oneRequest / 10); // two that are pending at once come in any order
    launched.child.kill("SIGTERM");
    const { code, stdout } = await launched.ended;
    expect({ code, stdout }).toEqual({ code: 129, stdout: "ready 0\nsaved 0\n" });
  });

  test("a launcher that is killed takes its ranks with it", async () => {
    const launched = launch(
      2,
      `endWithLauncher(); say("ready " + rank + " " + process.pid); setInterval(() => {}, 1000);`,
    );
    await until(() => ready(launched));
    const { stdout, stderr } = launched.printed();
    const pids = [...`${stdout}${stderr}`.matchAll(/ready \d (\d+)/g)].map(([, pid]) => Number(pid));
    expect(pids.map(alive)).toEqual([true, true]);
    launched.child.kill("SIGKILL");
    await until(() => !pids.some(alive));
  });
});

test("a rank that follows its launcher ends by itself when it is done", async () => {
  expect(await launch(2, "endWithLauncher();").ended).toMatchObject({ code: 0, stderr: "" });
});

/** @file Ranks that die, stop, are late or were started wrongly: what the others say, and that they do not wait for a timeout. */

import { once } from "node:events";
import { createServer } from "node:net";
import { beforeAll, describe, expect, test } from "vitest";
import { ensureDist, here } from "../../setup/ensure.mjs";
import { freePort, type RankOutcome, runRanks, startRank, startRanks } from "./ranks.ts";

beforeAll(() => ensureDist(here));

interface Failure {
  readonly code: string;
  readonly message: string;
}

/** The error that ended a rank, by itself and before any timeout. */
function failure(outcome: RankOutcome | undefined): Failure {
  expect({ code: outcome?.code, signal: outcome?.signal }).toEqual({ code: 1, signal: null });
  const last = outcome?.told.at(-1) as Failure;
  expect(last.code).toBe("distributed_failed");
  return last;
}

const sum = "scope(() => group.allReduce(tensorFrom(Float32Array.of(rank), [1])).toTypedArray())";

describe("a rank killed", () => {
  test("while the others wait in a collective: they end at once and name it", async () => {
    const program = `
      const group = connect();
      group.barrier();
      if (rank === 2) process.kill(process.pid, "SIGKILL");
      ${sum};
    `;
    const outcomes = await runRanks(3, program);
    expect(outcomes[2]?.signal).toBe("SIGKILL");
    for (const rank of [0, 1]) {
      expect(failure(outcomes[rank]).message).toMatch(
        new RegExp(`^Rank ${rank} of 3, in an all-reduce: no sign of rank 2: ended, or not to be reached .*by peer`),
      );
    }
  });

  test("the one that keeps the store", async () => {
    const program = `
      const group = connect();
      group.barrier();
      if (rank === 0) process.kill(process.pid, "SIGKILL");
      ${sum};
    `;
    for (const outcome of (await runRanks(3, program)).slice(1)) {
      expect(failure(outcome).message).toMatch(/no sign of rank 0/);
    }
  });

  test("while another computes, whose heart beats: only the dead one is named", async () => {
    const program = `
      const heart = new Heartbeat(environment, 20, () => {});
      const group = connect();
      group.barrier();
      await sleep(2); // for a first beat of all
      if (rank === 2) process.kill(process.pid, "SIGKILL");
      if (rank === 1) await sleep(4.5);
      ${sum};
    `;
    const [waiting] = await runRanks(3, program);
    expect(failure(waiting).message).toMatch(/no sign of rank 2:/);
  });
});

test("a rank that says why it stops", async () => {
  const program = `
    const group = connect();
    group.barrier();
    if (rank === 1) {
      group.announceStop("no space left on the device");
      process.exit(0);
    }
    ${sum};
  `;
  const [first, , third] = await runRanks(3, program);
  for (const outcome of [first, third]) {
    expect(failure(outcome).message).toMatch(/rank 1 stopped: no space left on the device\.$/);
  }
});

describe("a rank that is slow", () => {
  test("is waited for", async () => {
    const program = `
      const heart = new Heartbeat(environment, 20, (message) => { tell(message); endProcess(9); });
      const group = connect();
      if (rank === 1) await sleep(5);
      tell(${sum});
      await heart.stop();
      group.close();
    `;
    const outcomes = await runRanks(2, program);
    expect(outcomes.map(({ code, told }) => ({ code, told }))).toEqual([
      { code: 0, told: [[1]] },
      { code: 0, told: [[1]] },
    ]);
  });

  test("too slow for the timeout: the error says that all are there", async () => {
    const program = `
      const heart = new Heartbeat(environment, 20, () => {});
      const group = connect({ timeoutSeconds: 2 });
      group.barrier(20);
      if (rank === 1) await sleep(7);
      ${sum};
    `;
    const [first] = await runRanks(2, program);
    expect(failure(first).message).toMatch(/it failed though all are there: Timed out waiting 2000ms/);
  });
});

// The collective does not return; the main thread, where the heartbeat is heard, ends the process.
test("a rank that stands still with its connections open is noticed, and process.exit is not needed", async () => {
  const program = `
    const heart = new Heartbeat(environment, 20, (message) => {
      tell(message);
      endProcess(7);
    });
    const worker = new Worker(\`
      import { workerData, parentPort } from "node:worker_threads";
      import(workerData.torch).then(({ ProcessGroup, scope, tensorFrom }) => {
        const group = ProcessGroup.connect({ ...workerData.environment, backend: "gloo", joinSeconds: 20, timeoutSeconds: 600 });
        group.barrier();
        parentPort.postMessage("there");
        if (workerData.environment.rank === 0) group.barrier();
        setInterval(() => {}, 1000);
      });
    \`, { eval: true, workerData: { environment, torch: TORCH } });
    worker.once("message", async () => {
      if (rank === 1) await sleep(2); // for a first beat
      if (rank === 1) process.kill(process.pid, "SIGSTOP");
    });
  `;
  const [first] = await startRanks(2, program);
  const outcome = await first?.ended;
  expect({ code: outcome?.code, told: outcome?.told }).toEqual({ code: 7, told: ["no sign of rank 1 for 20 s"] });
});

describe("started wrongly", () => {
  const join = "connect({ joinSeconds: 2 });";

  test("a rank that never comes is named", async () => {
    const port = await freePort();
    const ranks = [0, 2].map((rank) =>
      startRank({ RANK: rank, WORLD_SIZE: 4, MASTER_ADDR: "127.0.0.1", MASTER_PORT: port }, join),
    );
    for (const outcome of await Promise.all(ranks.map(({ ended }) => ended))) {
      expect(failure(outcome).message).toMatch(/^Waited 2 s in vain for ranks 1, 3 of 4\. Was it started/);
    }
  });

  test("no rank 0", async () => {
    const env = { RANK: 1, WORLD_SIZE: 2, MASTER_ADDR: "127.0.0.1", MASTER_PORT: await freePort() };
    expect(failure(await startRank(env, join).ended).message).toMatch(
      /^No store at 127\.0\.0\.1:\d+ after 2 s: .*Does rank 0 run at 127\.0\.0\.1/,
    );
  });

  test.each([
    ["two processes with one rank", [0, 1, 1], [3, 3, 3], /^Two processes of this run have RANK=1\.$/],
    [
      "two numbers of processes",
      [0, 1, 2],
      [3, 3, 5],
      /^Rank 2 was started with WORLD_SIZE=5, another with 3: set the same for all\.$/,
    ],
  ])("%s", async (_, ranks, sizes, message) => {
    const port = await freePort();
    const started = ranks.map((rank, index) =>
      startRank({ RANK: rank, WORLD_SIZE: sizes[index] ?? 0, MASTER_ADDR: "127.0.0.1", MASTER_PORT: port }, join),
    );
    const outcomes = await Promise.all(started.map(({ ended }) => ended));
    expect(outcomes.map((outcome) => failure(outcome).message)).toContainEqual(expect.stringMatching(message));
  });

  test("a port that is taken", async () => {
    const server = createServer().listen(0);
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const outcome = await startRank({ RANK: 0, WORLD_SIZE: 2, MASTER_ADDR: "127.0.0.1", MASTER_PORT: port }, join)
      .ended;
    server.close();
    expect(failure(outcome).message).toMatch(/^Cannot keep a store at port \d+: .*Set MASTER_PORT/);
  });
});

test("arguments that cannot be sent are refused where they are given, and the group lives on", async () => {
  const program = `
    const group = connect();
    try { scope(() => group.reduceScatter(tensorFrom(new Float32Array(3), [3]))); } catch (error) { tell(error.code); }
    tell(${sum});
    group.close();
  `;
  const outcomes = await runRanks(2, program);
  expect(outcomes.map(({ told }) => told)).toEqual([
    ["operator_failed", [1]],
    ["operator_failed", [1]],
  ]);
});

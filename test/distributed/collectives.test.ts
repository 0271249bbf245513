/** @file What the collectives compute, between real processes; expectations follow from their definition. */
import { beforeAll, describe, expect, test } from "vitest";
import { ensureDist, here } from "../../setup/ensure.mjs";
import { Store } from "../../src/torch/distributed/store.ts";
import { freePort, type RankOutcome, runRanks } from "./ranks.ts";

beforeAll(() => ensureDist(here));

/** What each rank told, when all ended well and quietly. */
function told(outcomes: readonly RankOutcome[]): unknown[][] {
  for (const { code, signal, stderr } of outcomes)
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: "" });
  return outcomes.map((outcome) => outcome.told);
}

const bits = (...values: number[]) =>
  values.map((value) => new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0).map((word) => word >>> 16);

// Small whole numbers: sums are exact in float32 and in bfloat16, so the order of adding does not show.
const everyCollective = `
  const group = connect();
  for (const dtype of ["float32", "float64", "int64", "bfloat16"]) {
    // [2 * worldSize, 2] of rank r: r * 16 + 0, 1, 2, ...
    const tensor = scope(() => torch.toDtype(
      tensorFrom(Float32Array.from({ length: 4 * worldSize }, (_, i) => rank * 16 + i), [2 * worldSize, 2]), dtype));
    const shown = (result) => ({ shape: result.shape, dtype: result.dtype, values: torch.toDtype(result, "float32").toTypedArray() });
    scope(() => tell({
      sum: shown(group.allReduce(tensor)),
      max: shown(group.allReduce(tensor, "max")),
      min: shown(group.allReduce(tensor, "min")),
      gather: shown(group.allGather(tensor)),
      scatter: shown(group.reduceScatter(tensor)),
      own: shown(tensor),
    }));
    tensor.dispose();
  }
  group.barrier();
  group.close();
`;

describe.each([1, 2, 3])("%i processes", (worldSize) => {
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  const size = 4 * worldSize;
  const own = (rank: number) => Array.from({ length: size }, (_, i) => rank * 16 + i);
  const sum = Array.from({ length: size }, (_, i) => ranks.reduce((total, rank) => total + rank * 16 + i, 0));

  test("every collective, in four dtypes", async () => {
    const perRank = told(await runRanks(worldSize, everyCollective));
    for (const [rank, lines] of perRank.entries()) {
      const shape = [2 * worldSize, 2];
      expect(lines).toEqual(
        ["float32", "float64", "int64", "bfloat16"].map((dtype) => ({
          sum: { shape, dtype, values: sum },
          max: { shape, dtype, values: own(worldSize - 1) },
          min: { shape, dtype, values: own(0) },
          gather: { shape: [2 * worldSize * worldSize, 2], dtype, values: ranks.flatMap(own) },
          scatter: { shape: [2, 2], dtype, values: sum.slice(rank * 4, rank * 4 + 4) },
          own: { shape, dtype, values: own(rank) },
        })),
      );
    }
  });
});

test("sums of bfloat16 are rounded to it, and every rank gets the same bits", async () => {
  const program = `
    const group = connect();
    const mine = Float32Array.of(1 / 3, 256, rank === 0 ? 256 : 1, rank === 0 ? 256 : 3);
    scope(() => tell(group.allReduce(torch.toDtype(tensorFrom(mine, [4]), "bfloat16")).toTypedArray()));
    group.close();
  `;
  const [first, second] = told(await runRanks(2, program));
  // With 8 significant bits 1/3 is 0.333984375, 257 goes to the even neighbour 256 and 259 to 260.
  expect(first).toEqual([bits(0.66796875, 512, 256, 260)]);
  expect(second).toEqual(first);
});

test("the store is shared: texts, counters, waiting", async () => {
  const program = `
    const group = connect();
    const { store } = group;
    tell({ before: store.get("none") ?? null });
    group.barrier();
    if (rank === 1) { await sleep(0.3); store.set("greeting", "grüße\\n"); }
    tell({ missing: store.wait(["greeting", "never"], 0.6), greeting: store.get("greeting") });
    store.add("count", rank + 1);
    group.barrier();
    tell({ count: store.add("count", 0) });
    group.close();
  `;
  for (const lines of told(await runRanks(2, program))) {
    expect(lines).toEqual([{ before: null }, { missing: ["never"], greeting: "grüße\n" }, { count: 3 }]);
  }
});

test("a launcher's store, as torchrun keeps one, serves attempt after attempt", async () => {
  const port = await freePort();
  using launcher = Store.connect({ host: "127.0.0.1", port, serve: true, prefix: "launcher" }, 10);
  launcher.set("mine", "untouched");
  const program = `
    const group = connect();
    scope(() => tell(group.allReduce(tensorFrom(Float32Array.of(rank), [1])).toTypedArray()));
    group.close();
  `;
  for (const attempt of ["0", "1"]) {
    const outcomes = await runRanks(2, program, {
      MASTER_PORT: String(port),
      TORCHELASTIC_USE_AGENT_STORE: "True",
      TORCHELASTIC_RESTART_COUNT: attempt,
    });
    expect(told(outcomes)).toEqual([[[1]], [[1]]]);
  }
  expect(launcher.get("mine")).toBe("untouched");
});

test("the rank that keeps the store waits until the others have left", async () => {
  const program = `
    const group = connect();
    if (rank === 1) { await sleep(1.5); tell(group.store.add("still", 1)); }
    group.close();
    tell("left");
  `;
  const outcomes = await runRanks(2, program);
  expect(told(outcomes)).toEqual([["left"], [1, "left"]]);
});

test("one process alone opens no connection", async () => {
  const program = `
    import { readdirSync, readlinkSync } from "node:fs";
    const sockets = () => readdirSync("/proc/self/fd").filter((fd) => {
      try { return readlinkSync("/proc/self/fd/" + fd).startsWith("socket:"); } catch { return false; }
    }).length;
    const before = sockets();
    const group = connect();
    tell(sockets() - before);
    group.barrier();
    group.store.set("key", "value");
    tell(group.store.get("key"));
    group.close();
  `;
  expect(told(await runRanks(1, program))).toEqual([[0, "value"]]);
});

import { describe, expect, test } from "vitest";
import { processEnvironment } from "./process-environment.ts";

// As torchrun 2.13 sets them for the second of two processes (--nproc-per-node 2).
const torchrun = {
  RANK: "1",
  WORLD_SIZE: "2",
  LOCAL_RANK: "1",
  LOCAL_WORLD_SIZE: "2",
  MASTER_ADDR: "localhost",
  MASTER_PORT: "29500",
  TORCHELASTIC_USE_AGENT_STORE: "True",
  TORCHELASTIC_RESTART_COUNT: "3",
};

describe("processEnvironment", () => {
  test("reads what torchrun sets", () => {
    expect(processEnvironment(torchrun)).toEqual({
      rank: 1,
      worldSize: 2,
      localRank: 1,
      localSize: 2,
      masterAddress: "localhost",
      masterPort: 29500,
      launcherStore: true,
      attempt: "3",
    });
  });

  test("without RANK and WORLD_SIZE there is one process", () => {
    expect(processEnvironment({})).toBeUndefined();
    expect(processEnvironment({ MASTER_PORT: "1", LOCAL_RANK: "0", RANK: "" })).toBeUndefined();
  });

  test("rank 0 keeps the store where the launcher has none; a machine of its own needs no LOCAL_RANK", () => {
    const env = { RANK: "1", WORLD_SIZE: "2", MASTER_ADDR: "node-0", MASTER_PORT: "1234" };
    expect(processEnvironment(env)).toMatchObject({ launcherStore: false, localRank: 0, attempt: "0" });
    expect(processEnvironment({ ...torchrun, TORCHELASTIC_USE_AGENT_STORE: "False" })?.launcherStore).toBe(false);
  });

  test("without LOCAL_WORLD_SIZE all are taken to share the machine, or none where there is no LOCAL_RANK either", () => {
    const env = { RANK: "1", WORLD_SIZE: "8", MASTER_ADDR: "node-0", MASTER_PORT: "1234" };
    expect(processEnvironment({ ...env, LOCAL_RANK: "1", LOCAL_WORLD_SIZE: "4" })?.localSize).toBe(4);
    expect(processEnvironment({ ...env, LOCAL_RANK: "1" })?.localSize).toBe(8);
    expect(processEnvironment(env)?.localSize).toBe(1);
  });

  test("a world of one needs no address", () => {
    expect(processEnvironment({ RANK: "0", WORLD_SIZE: "1" })).toMatchObject({ rank: 0, worldSize: 1 });
  });

  test.each([
    [{ WORLD_SIZE: undefined }, /RANK=1 and WORLD_SIZE= are set, but WORLD_SIZE is not.*unset them all/],
    [{ RANK: undefined }, /but RANK is not/],
    [{ MASTER_ADDR: "" }, /but MASTER_ADDR is not/],
    [{ MASTER_PORT: undefined }, /but MASTER_PORT is not/],
    [{ RANK: "2" }, /RANK="2" is not a whole number from 0 to 1/],
    [{ RANK: "-1" }, /RANK="-1" is not/],
    [{ RANK: "1.0" }, /RANK="1\.0" is not/],
    [{ WORLD_SIZE: "0" }, /WORLD_SIZE="0" is not a whole number of at least 1/],
    [{ WORLD_SIZE: "two" }, /WORLD_SIZE="two" is not/],
    [{ LOCAL_RANK: "2" }, /LOCAL_RANK="2" is not a whole number from 0 to 1/],
    [{ LOCAL_WORLD_SIZE: "3" }, /LOCAL_WORLD_SIZE="3" is not a whole number from 1 to 2/],
    [{ MASTER_PORT: "65536" }, /MASTER_PORT="65536" is not a whole number from 1 to 65535/],
  ])("refuses %o", (change, message) => {
    expect(() => processEnvironment({ ...torchrun, ...change })).toThrow(message);
    expect(() => processEnvironment({ ...torchrun, ...change })).toThrow(
      expect.objectContaining({ code: "distributed_failed" }),
    );
  });
});

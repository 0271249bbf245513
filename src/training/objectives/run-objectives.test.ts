import { describe, expect, it } from "vitest";
import { z } from "zod";
import { zeros } from "../../torch/index.ts";
import type { Objective } from "./objective.ts";
import { needsOf } from "./objective.ts";
import { objectives } from "./registry.ts";
import { RunObjectives } from "./run-objectives.ts";

/** Counts the steps in which it was weighed. */
const counting: Objective<{ steps: number }> = {
  name: "counting",
  about: "of nothing",
  answers: "chosen",
  rows: "ends",
  heads: ["reward"],
  sums: [],
  formula: () => "0",
  loss: () => ({ loss: zeros([], "float32"), sums: {} }),
  state: {
    schema: z.object({ steps: z.int() }),
    start: () => ({ steps: 0 }),
    after: (_, { steps }) => ({ steps: steps + 1 }),
  },
};

describe("the objectives that there are", () => {
  it("have names that the configuration and the files can have, each its own", () => {
    const names = objectives.map(({ name }) => name);
    for (const name of names) expect(name).toMatch(/^[a-z]+$/); // the configuration's two spellings are one
    expect(new Set(names).size).toBe(names.length);
    const columns = "stage step loss accuracy margin grad_norm learning_rate pairs tokens seconds".split(" ");
    const sums = objectives.flatMap(({ sums }) => sums.map(({ name }) => name));
    for (const name of sums) expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(new Set([...columns, ...sums]).size).toBe(columns.length + sums.length);
  });

  it("ask for no more than they need together", () => {
    const run = new RunObjectives(objectives);
    const needs = (weights: Record<string, number>) => needsOf(run.weighed(weights));
    expect(needs({ pairwise: 1, language: 0 })).toEqual({ answers: "all", rows: "ends", heads: new Set(["reward"]) });
    expect(needs({ pairwise: 0, language: 2 })).toEqual({
      answers: "chosen",
      rows: "all",
      heads: new Set(["language"]),
    });
    expect(needs({ pairwise: 0.5, language: 1 })).toEqual({
      answers: "all",
      rows: "all",
      heads: new Set(["reward", "language"]),
    });
  });
});

describe("states", () => {
  const weights = { pairwise: 1, counting: 0.5 };

  it("change where a step weighs their objective, and come back through JSON", () => {
    const run = new RunObjectives([...objectives, counting]);
    run.after(run.weighed(weights), {});
    run.after(run.weighed({ pairwise: 1 }), {});
    run.after(run.weighed(weights), {});
    expect(run.states).toEqual({ counting: { steps: 2 } });
    const resumed = new RunObjectives([...objectives, counting]);
    resumed.restore(JSON.parse(JSON.stringify(run.states)));
    expect(resumed.weighed(weights).at(-1)?.state).toEqual({ steps: 2 });
  });

  it("begin anew where a state was saved before there was the objective, and are refused where they are none", () => {
    const run = new RunObjectives([counting]);
    run.restore({});
    expect(run.states).toEqual({ counting: { steps: 0 } });
    expect(() => run.restore({ counting: { steps: null } })).toThrow(
      expect.objectContaining({ code: "checkpoint_mismatch", message: expect.stringContaining("counting") }),
    );
  });
});

/**
 * @file A run of training with an objective that the program does not have, as somebody would add one:
 * third-objective.mjs CONFIG WEIGHTS [--resume] [--kill=STEP]. WEIGHTS are the stages' objectives as a JSON list. Tells the
 * bytes of the weights.
 *
 * `anchor` draws rewards to the mean of those before, as BCO's running delta does (arXiv 2404.04656).
 */
import { z } from "zod";
import { localPolicy } from "../../dist/media/policy.js";
import { addScalarInto, clone, mul, sum } from "../../dist/torch/index.js";
import { loadTrainConfig } from "../../dist/training/config/config.js";
import { objectives } from "../../dist/training/objectives/registry.js";
import { runTraining } from "../../dist/training/run.js";
import { alone } from "../../dist/training/world.js";

const [file = "", weights = "[]", ...options] = process.argv.slice(2);
const killAt = Number(options.find((option) => option.startsWith("--kill="))?.slice("--kill=".length));

/** @type {import("../../dist/training/objectives/objective.js").Objective<{ delta: number }>} */
const anchor = {
  name: "anchor",
  about: "of the distance from the mean reward so far",
  answers: "all",
  rows: "ends",
  heads: ["reward"],
  sums: [
    { name: "reward", title: "Reward", about: "of both answers together" },
    { name: "reward_square", title: "Squared reward", about: "of both answers together" },
    { name: "reference_gap", title: "Reference gap", about: "log-probability of chosen less that of rejected" },
  ],
  formula: () => "(reward - running mean)^2",
  loss: ({ rewards, pairs, answers }, { delta }) => {
    const distance = clone(rewards);
    addScalarInto(distance, -delta);
    const values = [...rewards.toFloat32Array()];
    /** @param {number} place */
    const reference = (place) => answers[place]?.referenceLogProb ?? Number.NaN;
    return {
      loss: sum(mul(distance, distance)),
      sums: {
        reward: values.reduce((total, value) => total + value, 0),
        reward_square: values.reduce((total, value) => total + value ** 2, 0),
        reference_gap: pairs.reduce((total, pair) => total + reference(pair.chosen) - reference(pair.rejected), 0),
      },
    };
  },
  state: {
    schema: z.object({ delta: z.number() }),
    start: () => ({ delta: 0 }),
    after: ({ reward = Number.NaN }, { delta }) => ({ delta: 0.75 * delta + 0.25 * (reward / 2) }),
  },
};

const config = loadTrainConfig(file);
/** @type {Record<string, number>[]} */
const stageWeights = JSON.parse(weights);
await runTraining({
  config: {
    ...config,
    stages: config.stages.map((stage, index) => ({ ...stage, objective: stageWeights[index] ?? {} })),
  },
  modelFolder: config.model,
  media: localPolicy,
  device: "cpu",
  resume: options.includes("--resume"),
  checkOnly: false,
  world: alone("cpu"),
  objectives: [...objectives, anchor],
  emit: (event) => {
    if (event.kind === "memory") console.log(JSON.stringify({ weights: event.weights }));
    if (event.kind === "step" && event.metrics.step === killAt) process.kill(process.pid, "SIGKILL");
  },
  isStopping: () => false,
  signal: new AbortController().signal,
});

/**
 * @file Training steps on the same pairs, in a process of their own so that the peak of memory is theirs. training.mjs starts
 * it: `node one-step.mjs TASK`, a OneStep as JSON; what it measured goes to standard output as one line.
 */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * @typedef {object} OneStep
 * @property {string} folder of the checkpoint
 * @property {string} pairs a file of preferences: one batch
 * @property {boolean} sharing
 * @property {boolean} checkpointing
 * @property {number} tokenBudget
 * @property {number} steps
 */

/**
 * @typedef {object} StepResult
 * @property {number[]} seconds of each step, preparation of the pairs included in the first
 * @property {number[]} losses before each step
 * @property {number} peakBytes resident
 */

/** @template T @param {string} path @returns {Promise<T>} */
const load = (path) => import(new URL(`../dist/${path}`, import.meta.url).href);
/** @type {typeof import("../src/data/preference.ts")} */
const { readPreference } = await load("data/preference.js");
/** @type {typeof import("../src/models/families.ts")} */
const { familyOf } = await load("models/families.js");
/** @type {typeof import("../src/models/reward-model.ts")} */
const { RewardModel } = await load("models/reward-model.js");
/** @type {typeof import("../src/nn/index.ts")} */
const { placement } = await load("nn/index.js");
/** @type {typeof import("../src/training/step/grouped-pass.ts")} */
const { GroupedPass } = await load("training/step/grouped-pass.js");
/** @type {typeof import("../src/training/objectives/pairwise.ts")} */
const { pairwise } = await load("training/objectives/pairwise.js");
/** @type {typeof import("../src/training/step/optimizer.ts")} */
const { Optimizer } = await load("training/step/optimizer.js");
/** @type {typeof import("../src/training/step/trainable.ts")} */
const { trainedParameters } = await load("training/step/trainable.js");
/** @type {typeof import("../src/training/step/vision-features.ts")} */
const { VisionFeatures } = await load("training/step/vision-features.js");
/** @type {typeof import("../src/training/world.ts")} */
const { alone } = await load("training/world.js");

/** @type {typeof import("../src/torch/index.ts")} */
const { keepMemory } = await load("torch/index.js");

keepMemory(); // as the command does
/** @type {OneStep} */
const { folder, pairs: file, sharing, checkpointing, tokenBudget, steps } = JSON.parse(process.argv[2] ?? "");
const processor = await familyOf(folder).loadProcessor({ limits: {} });
const model = RewardModel.load(folder, placement("cpu", "float32", "owned"));
const trained = trainedParameters(model.namedParameters(), model.backbone, ["merger", "decoder", "head"], false);
for (const { stored } of trained.values()) stored.setRequiresGrad(true);
const optimizer = new Optimizer(
  trained,
  {
    type: "adamw",
    momentum: 0,
    weightDecay: 0,
    betas: [0.9, 0.999],
    eps: 1e-8,
    maxGradNorm: 1,
    decayNormsAndBiases: true,
    masterWeights: "float32",
  },
  alone("cpu"),
);
const { vision: tower } = model.backbone;
if (!tower) throw new Error(`${folder} has no vision tower`);
const vision = new VisionFeatures(tower, "cpu", {
  trained: "merger",
  patchBudget: 4 * tokenBudget,
  cacheBytes: 2 ** 31,
});
const pass = new GroupedPass(model, vision, [], {
  tokenBudget,
  checkpointing,
  sharing,
  loss: { centerRewardsCoefficient: 0 },
  headDropout: 0,
  treeTokens: 0,
  languageHead: undefined,
  answerTokens: { header: 0, end: 0 },
});

const prepareAll = () =>
  Promise.all(
    readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map(async (line, number) => {
        const read = readPreference(line, number);
        if ("error" in read) throw read.error;
        const { prefix, answers, pairs } = read.preference;
        return { prompt: await processor.prepare(prefix, answers, { baseFolder: dirname(file) }), pairs, right: [] };
      }),
  );

/** @type {StepResult} */
const result = { seconds: [], losses: [], peakBytes: 0 };
let prepared;
for (let step = 0; step < steps; step++) {
  const began = performance.now();
  prepared ??= await prepareAll();
  const weighed = [{ objective: pairwise, weight: 1, state: undefined }];
  const { losses } = pass.backpropagate(prepared, weighed, 1 / prepared.length, 0);
  optimizer.step(3e-4);
  result.seconds.push((performance.now() - began) / 1000);
  result.losses.push((losses.pairwise ?? Number.NaN) / prepared.length);
}
result.peakBytes = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify(result));

/**
 * @file Opens model folders, one after the other as their names come on standard input, scores an answer with each, and says
 * in a line what became of it. A process of its own, so that a folder that ends it has ended nothing else.
 */
import { createInterface } from "node:readline";
import { RewardEngine, VlRewardError } from "vl-reward";

/** @type {import("vl-reward").Group} */
const group = {
  prefix: [{ role: "user", content: "Which colour does the object on the left have?" }],
  branches: [{ role: "assistant", content: "It is cyan." }],
  baseFolder: ".",
};

/**
 * @param {string} folder
 * @returns {Promise<object>} its scores, or what refuses the folder or the group
 */
async function outcomeOf(folder) {
  try {
    const engine = await RewardEngine.open({ folder, dtype: "float32", device: "cpu", memory: 2 ** 29 });
    const result = await engine.scoreGroup(group);
    await engine.close();
    return "error" in result ? refusal(result.error) : { scores: result.scores };
  } catch (error) {
    return refusal(error);
  }
}

/** @param {unknown} error */
const refusal = (error) => ({
  code: error instanceof VlRewardError ? error.code : "none",
  message: error instanceof Error ? error.message : String(error),
});

for await (const folder of createInterface({ input: process.stdin })) {
  const said = await outcomeOf(folder);
  process.stdout.write(`${JSON.stringify({ ...said, megabytes: process.resourceUsage().maxRSS / 1024 })}\n`);
}

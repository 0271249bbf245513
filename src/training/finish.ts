/** @file What a run leaves behind: the finished checkpoint with its card, and the report. */
import { readFileSync } from "node:fs";
import path from "node:path";
import type { StoredTensor } from "../checkpoint/checkpoint.ts";
import { storedSource } from "../checkpoint/save.ts";
import { writeTextDurably } from "../files/durable-file.ts";
import type { HeadPlace } from "../models/family.ts";
import { short } from "../report/numbers.ts";
import { libtorchVersion, threadCount } from "../torch/index.ts";
import { type TrainConfig, trainConfigText } from "./config/config.ts";
import { pixelLimitsOf, type RunData } from "./data/run-data.ts";
import { writeAdapter } from "./output/adapter.ts";
import { exportCheckpoint } from "./output/export.ts";
import { readEvaluations, readSteps } from "./output/metrics.ts";
import { modelCard } from "./output/model-card.ts";
import { type DataFile, reportPage } from "./output/report.ts";
import { loadState } from "./output/saved-state.ts";
import type { RunStateContext } from "./run-state.ts";
import { withMergedUpdates } from "./step/lora.ts";

/**
 * Writes the checkpoint into the output folder, from the state that was saved last. Rejects with `output_unwritable`; then
 * a resumed run comes back here.
 */
export async function finishRun(context: RunStateContext, modelFolder: string, stateFolder: string): Promise<void> {
  const { config, session } = context;
  const weights = loadState(stateFolder).tensors.get("weights") ?? new Map<string, StoredTensor>();
  const trained = [...weights].map(([name, place]) => storedSource(name, place));
  if (config.lora) {
    writeAdapter({ folder: path.join(config.output, "adapter"), base: config.model, options: config.lora, trained });
  }
  const head = await exportCheckpoint({
    base: modelFolder,
    target: config.output,
    trained: withMergedUpdates(session.model.backbone, trained),
    dtype: config.saveDtype ?? session.dtype,
    pixelLimits: pixelLimitsOf(config),
  });
  writeTextDurably(path.join(config.output, "README.md"), cardOf(context, head));
}

/** Writes report.html with what has been measured so far. `outcome` is a sentence. Throws `output_unwritable`. */
export function writeReport(context: RunStateContext, outcome: string): void {
  const { config } = context;
  const page = reportPage({
    name: path.basename(config.output),
    outcome,
    config: trainConfigText(config),
    environment: environmentOf(context),
    peakMemory: process.resourceUsage().maxRSS * 1024,
    data: dataFiles(config, context.data),
    steps: readSteps(config.output),
    sums: context.session.objectives.sums,
    evaluations: readEvaluations(config.output),
  });
  writeTextDurably(path.join(config.output, "report.html"), page);
}

function cardOf(context: RunStateContext, head: HeadPlace): string {
  const { config, session, data } = context;
  const { type, momentum, betas, eps, weightDecay, maxGradNorm } = config.optimizer;
  const steps = readSteps(config.output);
  const totalOf = (key: "pairs" | "tokens" | "seconds"): number => steps.reduce((sum, step) => sum + step[key], 0);
  const { objectives } = session;
  const weighed = config.stages.flatMap(({ objective }) => objectives.weighed(objective));
  const { family } = session.model;
  const pixelLimits = family.pixelLimits && { ...family.pixelLimits, ...pixelLimitsOf(config) };
  const headLayers = [...session.model.head.namedParameters()].length > 2 ? 2 : 1;
  const limits = pixelLimits ?? { minPixels: 0, maxPixels: 0 };
  return modelCard({
    name: path.basename(config.output),
    base: {
      name: config.model,
      onHub: !path.isAbsolute(config.model) && config.model !== "tiny",
      commit: context.base.commit,
      fingerprint: context.base.fingerprint,
    },
    drawn: config.init !== undefined,
    trained: config.train,
    adapter: config.lora && { rank: config.lora.rank, alpha: config.lora.alpha },
    modelType: family.modelType,
    pythonExample: family.pythonExample({ dtype: session.dtype, head, headLayers, limits }),
    dtype: session.dtype,
    saveDtype: config.saveDtype ?? session.dtype,
    seed: config.seed,
    optimizer:
      (type === "muon" ? `Muon for the matrices of layers, momentum ${short(momentum)}; else ` : "") +
      `AdamW, betas ${betas.join(" and ")}, eps ${short(eps)}, weight decay ${short(weightDecay)}, ` +
      `gradient norm at most ${short(maxGradNorm)}`,
    losses: new Map(weighed.map(({ objective }) => [objective.name, objective.formula(config.loss)])),
    stages: config.stages.map((stage, index) => ({
      name: stage.name,
      loss: objectives
        .weighed(stage.objective)
        .map(({ objective, weight }) => (weight === 1 ? "" : `${short(weight)} `) + objective.name)
        .join(" + "),
      steps: data.stages[index]?.plan.steps ?? 0,
      epochs: stage.epochs,
      batchSize: stage.batchSize,
      learningRate: stage.learningRate,
      schedule: stage.schedule,
      warmupRatio: stage.warmupRatio,
    })),
    data: dataFiles(config, data),
    totals: { pairs: totalOf("pairs"), tokens: totalOf("tokens"), seconds: totalOf("seconds") },
    evaluations: readEvaluations(config.output),
    pixelLimits,
    versions: environmentOf(context),
  });
}

function environmentOf({ session, world }: RunStateContext): Map<string, string> {
  const manifest: { version: string } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  return new Map([
    ["vl-reward", manifest.version],
    ["torch", libtorchVersion()],
    ["Node.js", process.version],
    ["device", session.model.device],
    ["processes", String(world.worldSize)],
    ["threads of each", String(threadCount())],
  ]);
}

function dataFiles(config: TrainConfig, { stages, validation, reports }: RunData): DataFile[] {
  const reportOf = (name: string) => reports.find(({ path: file }) => file === name);
  const trained = stages.flatMap(({ sources }, index) => {
    const { name: use = "", data = [] } = config.stages[index] ?? {};
    return sources.map(({ name }, at) => ({ use, path: name, weight: data[at]?.weight, report: reportOf(name) }));
  });
  if (!validation || config.validation?.split !== undefined) return trained;
  return [
    ...trained,
    ...validation.map(({ name }) => ({ use: "validation", path: name, weight: undefined, report: reportOf(name) })),
  ];
}

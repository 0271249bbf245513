/**
 * @file What one process trains with: the model with its trained weights marked, the optimizer, the pass over a batch and
 * the threads that prepare records.
 */
import { availableParallelism, cpus } from "node:os";
import { randomStream } from "../data/random.ts";
import { defaultShare } from "../engine/machine/memory.ts";
import { type ComputeDtype, chooseDtype } from "../engine/machine/precision.ts";
import { systemMemory } from "../engine/machine/system-memory.ts";
import { FeatureStore } from "../engine/pass/feature-store.ts";
import type { MediaPolicy } from "../media/policy.ts";
import type { LanguageHead } from "../models/heads/language.ts";
import type { AnswerTokens } from "../models/prompt.ts";
import { RewardModel } from "../models/reward-model.ts";
import { type Parameter, placement } from "../nn/index.ts";
import {
  bytesPerElement,
  type Device,
  deviceMemory,
  Generator,
  libtorchVersion,
  setThreadCount,
} from "../torch/index.ts";
import type { TrainConfig } from "./config/config.ts";
import { PreparePool } from "./data/prepare-pool.ts";
import { pixelLimitsOf } from "./data/run-data.ts";
import { needsOf, type Objective } from "./objectives/objective.ts";
import { RunObjectives } from "./objectives/run-objectives.ts";
import { GroupedPass } from "./step/grouped-pass.ts";
import { addLora } from "./step/lora.ts";
import { planTrainingMemory, type TrainingMemory } from "./step/memory.ts";
import { Optimizer } from "./step/optimizer.ts";
import { trainedParameters, trainedVision } from "./step/trainable.ts";
import { type TrainedVision, VisionFeatures } from "./step/vision-features.ts";
import type { World } from "./world.ts";

export interface SessionOptions {
  readonly config: TrainConfig;
  readonly modelFolder: string;
  readonly media: MediaPolicy;
  readonly device: Device;
  readonly world: World;
  readonly answerTokens: AnswerTokens;
  /** Those that stages can weigh. */
  readonly objectives: readonly Objective[];
}

/** A tree of more tokens costs more in what its mask hides than it saves in calls of the kernel. */
const treeTokens = 512;

/** What all processes of one machine read ahead of pictures and videos; one that is larger is read alone. */
const machineMediaBytes = 2 ** 28;

export class Session {
  readonly dtype: ComputeDtype;
  readonly model: RewardModel;
  /** By name, in the model's order. */
  readonly trained: ReadonlyMap<string, Parameter>;
  readonly optimizer: Optimizer;
  readonly objectives: RunObjectives;
  readonly memory: TrainingMemory;
  /** Absent where the model reads text alone. */
  readonly vision: VisionFeatures | undefined;
  readonly pass: GroupedPass;
  readonly pool: PreparePool;
  /** For pictures and videos of the records that one run reads ahead. */
  readonly mediaBytes: number;
  /** What a person should know about the model. */
  readonly notices: readonly string[];
  /** Where an objective of some stage asks for it. */
  readonly #languageHead: LanguageHead | undefined;

  /** Throws the codes of a model that cannot be loaded, and `config_invalid` for what `train` does not fit. */
  constructor({ config, modelFolder, media, device, world, answerTokens, objectives }: SessionOptions) {
    if (config.threads !== undefined) setThreadCount(config.threads);
    this.dtype = chooseDtype(config.dtype, device);
    const place = placement(device, this.dtype, "owned");
    const seedOf = (purpose: string): number => randomStream(purpose, config.seed)();
    using headGenerator = new Generator(seedOf("head"));
    this.model = config.init
      ? RewardModel.create(modelFolder, place, { ...config.init, seed: initialSeed(config) }, config.head?.hidden)
      : RewardModel.load(modelFolder, place, { generator: headGenerator, width: config.head?.hidden });
    this.notices = noticesOf(config, this.model);
    const updates = config.lora === undefined ? [] : addLora(this.model.backbone, config.lora, place, seedOf("lora"));
    this.trained = trainedParameters(
      this.model.namedParameters(),
      this.model.backbone,
      config.train,
      updates.length > 0,
    );
    for (const { stored } of this.trained.values()) stored.setRequiresGrad(true);
    this.optimizer = new Optimizer(
      this.trained,
      { ...config.optimizer, masterWeights: config.masterWeights },
      world,
      (name) => this.model.backbone.parts.isInLayer(name),
    );
    this.objectives = new RunObjectives(objectives);
    const { heads } = needsOf(config.stages.flatMap(({ objective }) => this.objectives.weighed(objective)));
    this.#languageHead = heads.has("language") ? this.model.languageHead() : undefined;
    this.memory = planTrainingMemory(
      this.model.backbone.shape,
      bytesPerElement(this.dtype),
      this.#freeBytes(device, world),
      {
        tokenBudget: config.tokenBudget,
        checkpointing: config.activationCheckpointing,
        logits: this.#languageHead !== undefined,
      },
    );
    this.vision = this.#visionFeatures(config);
    this.pass = new GroupedPass(this.model, this.vision, updates, {
      tokenBudget: this.memory.tokenBudget,
      checkpointing: this.memory.checkpointing,
      sharing: true,
      loss: config.loss,
      headDropout: config.headDropout,
      treeTokens,
      languageHead: this.#languageHead?.weight,
      answerTokens,
    });
    const threads = Math.max(1, Math.min(4, Math.floor(availableParallelism() / 2 / world.localSize)));
    this.mediaBytes = Math.floor(machineMediaBytes / world.localSize);
    this.pool = new PreparePool(modelFolder, pixelLimitsOf(config), media, { threads, pictureBytes: 2 ** 28 });
  }

  /** What this process holds of each kind. */
  get bytes(): { readonly weights: number; readonly gradients: number; readonly optimizer: number } {
    const sizeOf = (parameters: Iterable<Parameter>): number =>
      [...parameters].reduce((sum, { stored }) => sum + stored.elements * bytesPerElement(stored.dtype), 0);
    const all = [...this.model.namedParameters()].map(([, parameter]) => parameter);
    const weights = sizeOf(all) + (this.#languageHead?.bytes ?? 0);
    return { weights, gradients: sizeOf(this.trained.values()), optimizer: this.optimizer.bytes };
  }

  async close(): Promise<void> {
    await this.pool.close();
    this.vision?.dispose();
    this.optimizer.dispose();
    this.model.dispose();
  }

  #visionFeatures(config: TrainConfig): VisionFeatures | undefined {
    const { backbone, device } = this.model;
    const { vision, shape } = backbone;
    if (!vision || !shape.vision) return undefined;
    const trained = trainedVision(this.trained.keys(), backbone);
    return new VisionFeatures(vision, device, {
      trained,
      patchBudget: shape.vision.patchesPerToken * this.memory.tokenBudget,
      cacheBytes: config.featureCache === "off" ? 0 : this.memory.featureCache,
      ...storeOf(config.featureCache, trained, vision.identity, this.model, this.dtype),
    });
  }

  /** What is left for passes and caches, gradients taken off. */
  #freeBytes(device: Device, world: World): number {
    const gradients = [...this.trained.values()].reduce((sum, { stored }) => sum + stored.elements * 4, 0);
    const free =
      device === "cpu" ? (defaultShare * systemMemory().available) / world.localSize : deviceMemory(device).free;
    return Math.max(0, free - gradients);
  }
}

/** The weights' seed: one of their own, or the run's. */
const initialSeed = ({ init, seed }: TrainConfig): number => init?.seed ?? randomStream("init", seed)();

function noticesOf({ init, model, seed, head }: TrainConfig, { headIsNew }: RewardModel): string[] {
  if (init) {
    const scales = [
      init.patchEmbedScale !== 1 && `times ${init.patchEmbedScale} for the patch embedding`,
      init.visionOutputScale !== 1 && `times ${init.visionOutputScale} for the vision blocks' outputs`,
      `${init.headStd ?? "1 / sqrt(inputs + 1)"} for the head`,
    ].filter((text) => text !== false);
    const whose = init.seed === undefined ? `the run's seed, ${seed}` : `seed ${init.seed}`;
    return [
      `All weights of ${model} are drawn from a normal distribution of deviation ${init.std} (${scales.join(", ")}) with ` +
        `${whose}; biases are 0, norms 1.`,
    ];
  }
  if (!headIsNew) return [];
  return [
    `${model} has no reward head: it gets a new one${head ? ` of two layers, ${head.hidden} wide between them` : ""}, weights ` +
      `drawn from a normal distribution of variance 1 / (${head ? "inputs" : "hidden"} + 1) with seed ${seed}, bias 0.`,
  ];
}

function storeOf(
  place: string,
  trained: TrainedVision,
  identity: string,
  model: RewardModel,
  dtype: ComputeDtype,
): { store?: FeatureStore } {
  if (place === "memory" || place === "off" || trained === "tower") return {};
  const arithmetic = [libtorchVersion(), model.device, cpus()[0]?.model, identity, trained];
  const weights = model.visionFingerprint;
  return { store: new FeatureStore(place, { weights, dtype, arithmetic: JSON.stringify(arithmetic) }) };
}

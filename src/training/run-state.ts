/**
 * @file A run's state, saved and taken up again: trained weights and the optimizer's moments in float32, and what has to be
 * the same, or should be, for the rest to come out as if nothing had happened.
 */
import path from "node:path";
import { z } from "zod";
import { inFileOrder, type TensorSource } from "../checkpoint/save.ts";
import { VlRewardError } from "../errors.ts";
import { libtorchVersion, mapFile, scope, type Tensor, threadCount } from "../torch/index.ts";
import { type BaseModel, bindingOf, bindingSchema, differences } from "./binding.ts";
import type { TrainConfig } from "./config/config.ts";
import type { RunData } from "./data/run-data.ts";
import { assertLogsUnchanged, type LogMarks } from "./output/metrics.ts";
import {
  folderOf,
  keepStates,
  latestState,
  loadState,
  noteAccuracy,
  saveState,
  stepOf,
  type TensorFile,
} from "./output/saved-state.ts";
import type { Session } from "./session.ts";
import { sumOver, type World } from "./world.ts";

/** Of state.json: raised with every change of what has to stand there. */
const version = 3;

const written = z.object({ bytes: z.int().nonnegative(), crc32: z.int().nonnegative() });

const schema = z.object({
  version: z.literal(version),
  step: z.int(),
  stage: z.string(),
  ...bindingSchema.shape,
  /** What metrics.jsonl and evaluations.jsonl held. */
  logs: z.object({ steps: written, evaluations: written }),
  /** What may change the last bits of everything that follows. */
  setup: z.record(z.string(), z.union([z.string(), z.number()])),
  updates: z.record(z.string(), z.number()),
  /** What objectives know of the steps before, by name. */
  objectives: z.record(z.string(), z.unknown()).default({}),
});
type State = z.infer<typeof schema>;

export interface RunStateContext {
  readonly config: TrainConfig;
  readonly session: Session;
  readonly data: RunData;
  readonly world: World;
  /** What training began with. */
  readonly base: BaseModel;
}

export const statesFolder = (config: TrainConfig): string => path.join(config.output, "checkpoints");

/**
 * Saves the state after a step; all processes call it together and the first one writes. Throws `output_unwritable`;
 * `training_diverged` for weights from which nothing could go on.
 *
 * @param logs of the process that writes
 * @returns the state's folder; undefined in the other processes
 */
export function saveRun(
  context: RunStateContext,
  step: number,
  stage: string,
  logs: LogMarks | undefined,
): string | undefined {
  const { config, session, data, world, base } = context;
  if (!session.optimizer.isFinite()) {
    const index = config.stages.findIndex(({ name }) => name === stage);
    throw new VlRewardError(
      "training_diverged",
      `After step ${step} some weights are no finite numbers; this state is not saved. Resume from the one before with a ` +
        `smaller learning rate (--set stages.${index}.learning_rate=...).`,
    );
  }
  const weights = session.optimizer.state();
  const sources = (of: "weight" | "expAvg" | "expAvgSq", prefix = ""): TensorSource[] =>
    weights.flatMap((one) => {
      const read = one[of];
      return read ? [{ name: prefix + one.name, shape: one.shape, dtype: "float32", read }] : [];
    });
  const tensors = {
    weights: new Gathered(sources("weight")),
    optimizer: new Gathered([...sources("expAvg", "exp_avg."), ...sources("expAvgSq", "exp_avg_sq.")]),
  };
  const state: Omit<State, "logs"> = {
    version,
    step,
    stage,
    ...bindingOf(config, data.hashes, base),
    setup: setupOf(session, world),
    updates: Object.fromEntries(weights.map(({ name, updates }) => [name, updates])),
    objectives: session.objectives.states,
  };
  let folder: string | undefined;
  try {
    if (logs) {
      const files = { weights: tensors.weights.sources, optimizer: tensors.optimizer.sources };
      folder = saveState(statesFolder(config), { step, state: { ...state, logs }, tensors: files });
    }
  } finally {
    tensors.weights.readRest();
    tensors.optimizer.readRest();
  }
  if (folder !== undefined) keepSome(config);
  return folder;
}

/** Notes what the validation of a saved state gave, which decides whether it is kept as one of the best. */
export function noteEvaluation(config: TrainConfig, stateFolder: string, accuracy: number): void {
  if (!Number.isFinite(accuracy)) return; // of no pairs
  noteAccuracy(stateFolder, accuracy);
  keepSome(config);
}

function keepSome(config: TrainConfig): void {
  const { keepLast, keepBest } = config.checkpoints;
  keepStates(statesFolder(config), { last: keepLast, best: keepBest });
}

/**
 * Takes up the latest state, if there is one.
 *
 * @param announce is told of damaged states, and of what is different from when the state was saved
 * @returns the steps that are done, and where their state is; undefined where there is none
 * @throws VlRewardError `resume_mismatch` where configuration, data or model would make other steps of it, the logs of its steps
 *   have changed, or the state is one of another version of this program; `checkpoint_damaged`
 */
export function resumeRun(
  context: RunStateContext,
  announce: (message: string) => void,
): { readonly step: number; readonly folder: string } | undefined {
  const { config, session, data, world, base } = context;
  // One process looks, and sets aside what is damaged; the others are told.
  const found = world.rank === 0 ? latestState(statesFolder(config), announce) : undefined;
  const [number = 0] = sumOver(world, Float64Array.of(found === undefined ? 0 : stepOf(found)));
  if (number === 0) return undefined;
  const folder = path.join(statesFolder(config), folderOf(number));
  const saved = loadState(folder);
  const state = stateOf(saved.state, folder);
  const { forbidden, allowed } = differences(state, bindingOf(config, data.hashes, base));
  if (forbidden.length > 0) {
    throw new VlRewardError(
      "resume_mismatch",
      `${folder} was saved with another ${forbidden.join(", another ")}, so that its steps are not those of this run. Put ` +
        "back what was there, or begin a new run in another output folder.",
    );
  }
  assertLogsUnchanged(config.output, state.logs, folder, announce);
  for (const difference of allowed) announce(`${difference}.`);
  for (const [key, value] of Object.entries(setupOf(session, world))) {
    const before = state.setup[key];
    if (before !== value)
      announce(`${key} was ${before} when the state was saved and is ${value}: last bits will differ.`);
  }
  const read = (file: TensorFile, name: string): Tensor => {
    const place = saved.tensors.get(file)?.get(name);
    const [tensor] = place ? mapFile(place.file, [place]) : [];
    if (!tensor) throw new VlRewardError("checkpoint_mismatch", `${folder} has no ${name} in ${file}.safetensors.`);
    return tensor;
  };
  session.optimizer.restore((name) => ({
    updates: state.updates[name] ?? 0,
    weight: () => read("weights", name),
    expAvg: () => read("optimizer", `exp_avg.${name}`),
    expAvgSq: () => read("optimizer", `exp_avg_sq.${name}`),
  }));
  session.objectives.restore(state.objectives);
  return { step: state.step, folder };
}

function stateOf(value: unknown, folder: string): State {
  const found = z.object({ version: z.unknown() }).safeParse(value).data?.version;
  if (found !== version) {
    throw new VlRewardError(
      "resume_mismatch",
      `${folder} has the format ${JSON.stringify(found)} of another version of vl-reward; this one takes up format ${version}. ` +
        "Finish the run with the version that began it, or begin a new one in another output folder.",
    );
  }
  const { data, error } = schema.safeParse(value);
  if (data) return data;
  throw new VlRewardError(
    "checkpoint_damaged",
    `${folder}: state.json is not as it was saved: ${z.prettifyError(error)}`,
  );
}

const setupOf = (session: Session, world: World): State["setup"] => ({
  torch: libtorchVersion(),
  device: session.model.device.replace(/:.*/, ""),
  dtype: session.dtype,
  threads: threadCount(),
  world_size: world.worldSize,
  token_budget: session.memory.tokenBudget,
  activation_checkpointing: String(session.memory.checkpointing),
});

/**
 * Tensors that all processes put together, in the order of the file that one of them writes. The others read them as well,
 * and so does the writer when it has failed: none is left waiting for the next part.
 */
class Gathered {
  readonly sources: readonly TensorSource[];
  readonly #left: Set<TensorSource>;

  constructor(sources: readonly TensorSource[]) {
    this.#left = new Set(inFileOrder(sources));
    this.sources = [...this.#left].map((source) => ({
      ...source,
      read: () => {
        this.#left.delete(source);
        return source.read();
      },
    }));
  }

  readRest(): void {
    for (const source of this.#left) scope(() => void source.read());
  }
}

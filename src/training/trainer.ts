/**
 * @file The training loop: batches in the order of the plan, one optimizer step each, measured, evaluated and saved on the
 * way. It is the same for one process and for many: what all have to agree on goes through one sum per step.
 */

import { randomStream } from "../data/random.ts";
import { VlRewardError } from "../errors.ts";
import { Room } from "../tasks/room.ts";
import type { Stage, TrainConfig } from "./config/config.ts";
import {
  type Item,
  inStreams,
  itemsOf,
  type PreparedRecord,
  placeOf,
  preparedRecords,
} from "./data/prepared-records.ts";
import { longestAllowed, type RunData, type RunStage } from "./data/run-data.ts";
import { shareOf } from "./data/share.ts";
import { evaluate } from "./evaluation.ts";
import { needsOf } from "./objectives/objective.ts";
import type { Evaluation, StepMetrics } from "./output/metrics.ts";
import type { Session } from "./session.ts";
import { learningRateFactor, warmupStepCount } from "./step/schedule.ts";
import { sumOver, type World } from "./world.ts";

/** What the loop tells, in the order in which it happens. */
export interface TrainerListener {
  onStep(metrics: StepMetrics): void;
  /** The validation set is being measured; the state after `step` is saved. */
  onEvaluating(step: number): void;
  onEvaluation(evaluation: Evaluation): void;
  /** A record of the validation set cannot be used, one of this process's where `error` says which; the run goes on. */
  onFailedEvaluation(step: number, error: VlRewardError | undefined): void;
  /** The state after `step` is to be saved; all processes come here together. */
  onSave(step: number, stage: string): void;
  /** A record that cannot be used has been set aside. */
  onSkip(place: string, error: VlRewardError): void;
}

export interface TrainerOptions {
  readonly config: TrainConfig;
  readonly session: Session;
  readonly data: RunData;
  readonly world: World;
  readonly listener: TrainerListener;
  /** Asked in every step and between the streams of an evaluation: whether to save and stop. */
  readonly isStopping: () => boolean;
}

type UsableRecord = Extract<PreparedRecord, { pairs: unknown }>;

/** What one process finds in a step; summed over all it is the step's metrics. */
class Tally {
  loss = 0;
  correct = 0;
  margin = 0;
  pairs = 0;
  tokens = 0;
  /** Processes that cannot go on, that are asked to stop, that want the state saved. */
  failed = 0;
  stopping = 0;
  saving = 0;
  /** Of the objectives, by name. */
  readonly sums: Record<string, number>;

  constructor(sums: readonly string[]) {
    this.sums = Object.fromEntries(sums.map((name) => [name, 0]));
  }

  /** -> those of all processes together */
  over(world: World): Tally {
    const { sums: named, ...counts } = this;
    const all = sumOver(world, Float64Array.from([...Object.values(counts), ...Object.values(named)]));
    const tally = new Tally(Object.keys(named));
    const [keys, names] = [Object.keys(counts), Object.keys(named)];
    Object.assign(tally, Object.fromEntries(keys.map((key, index) => [key, all[index]])));
    Object.assign(tally.sums, Object.fromEntries(names.map((name, index) => [name, all[keys.length + index]])));
    return tally;
  }
}

export class Trainer {
  readonly #options: TrainerOptions;
  #saved = { step: 0, time: performance.now() };

  constructor(options: TrainerOptions) {
    this.#options = options;
  }

  /**
   * Runs the steps after `done`. A state is saved before an evaluation begins, so that nothing of it can lose a step; one that
   * was not finished, as when the process was killed, comes first.
   *
   * @param isEvaluated whether the validation set has been measured after the last of the steps that are done
   * @returns "finished", or "stopped" where it was asked to, with the state saved
   * @throws VlRewardError `training_diverged` for a loss or a gradient that is no number; the code of a record that cannot
   * be used where none may be skipped, with the state after the last whole step saved; `output_unwritable`
   */
  async run(done: number, isEvaluated: boolean): Promise<"finished" | "stopped"> {
    const { config, data } = this.#options;
    this.#saved = { step: done, time: performance.now() };
    const last = data.stages.findIndex(({ firstStep, plan }) => done > firstStep && done <= firstStep + plan.steps);
    const [lastStage, { name = "" } = {}] = [data.stages[last], config.stages[last]];
    if (lastStage && !isEvaluated && this.#evaluatesAfter(lastStage, done)) {
      if ((await this.#evaluate(name, done)) === "stopped") return "stopped";
    }
    for (const [index, stage] of data.stages.entries()) {
      const settings = config.stages[index];
      const first = Math.max(0, done - stage.firstStep);
      if (!settings || first >= stage.plan.steps) continue;
      if ((await this.#runStage(stage, settings, first)) === "stopped") return "stopped";
    }
    return "finished";
  }

  async #runStage(stage: RunStage, settings: Stage, first: number): Promise<"finished" | "stopped"> {
    const { config, data } = this.#options;
    const { pool, mediaBytes, optimizer, objectives } = this.#options.session;
    const { answers } = needsOf(objectives.weighed(settings.objective));
    const records = preparedRecords(this.#items(stage, first), {
      pool,
      room: new Room(mediaBytes),
      maxLength: this.#maxLength,
      answers,
    });
    if (first === 0 && settings.optimizerState === "reset") optimizer.reset();
    try {
      for (let inStage = first; inStage < stage.plan.steps; inStage++) {
        const step = stage.firstStep + inStage + 1;
        const tally = await this.#step(stage, settings, inStage, records);
        const evaluates = this.#evaluatesAfter(stage, step);
        const { everySteps } = config.checkpoints;
        const due = evaluates || step === data.steps || (everySteps > 0 && step % everySteps === 0);
        if (due || tally.saving > 0 || tally.stopping > 0) this.#save(step, settings.name);
        if (tally.stopping > 0) return "stopped";
        if (evaluates && (await this.#evaluate(settings.name, step)) === "stopped") return "stopped";
      }
    } finally {
      await records.return();
    }
    return "finished";
  }

  /** Whether the validation set is measured after this step of a stage. */
  #evaluatesAfter({ firstStep, plan }: RunStage, step: number): boolean {
    const { validation } = this.#options.config;
    return validation !== undefined && (step === firstStep + plan.steps || step % validation.everySteps === 0);
  }

  get #maxLength(): number {
    const { config, session } = this.#options;
    return longestAllowed(config, session.model.backbone.shape.decoder.maxPositions);
  }

  /** This process's part of every batch, from a step on. */
  *#items(stage: RunStage, first: number): Generator<Item> {
    for (let inStage = first; inStage < stage.plan.steps; inStage++) yield* this.#shareOf(batchOf(stage, inStage));
  }

  #shareOf(batch: readonly Item[]): Item[] {
    const { rank, worldSize } = this.#options.world;
    const loads = batch.map(({ source, entry: { record } }) => ({
      prompt: source.promptOf(record),
      tokens: source.tokensOf(record),
    }));
    const mine = new Set(shareOf(loads, rank, worldSize));
    return batch.filter((_, index) => mine.has(index));
  }

  async #step(
    stage: RunStage,
    settings: Stage,
    inStage: number,
    records: AsyncGenerator<PreparedRecord, void>,
  ): Promise<Tally> {
    const { config, session, world, listener } = this.#options;
    const began = performance.now();
    const step = stage.firstStep + inStage + 1;
    const batch = batchOf(stage, inStage);
    const planned = batch.reduce((sum, { entry }) => sum + entry.pairs.length, 0);
    const weighed = session.objectives.weighed(settings.objective);
    const { answers, heads } = needsOf(weighed);
    const own = new Tally(weighed.flatMap(({ objective }) => objective.sums.map(({ name }) => name)));
    const suspects: string[] = [];
    let failure: VlRewardError | undefined;
    const seeds = randomStream("dropout", config.seed, step, world.rank);
    try {
      for await (const stream of inStreams(records, this.#shareOf(batch).length, session.memory.tokenBudget)) {
        const usable = this.#usable(stream);
        const found = session.pass.backpropagate(
          usable.map(({ pairs }) => pairs),
          weighed,
          1 / planned,
          seeds(),
        );
        session.optimizer.collect();
        own.loss += weighed.reduce(
          (sum, { objective, weight }) => sum + weight * (found.losses[objective.name] ?? 0),
          0,
        );
        for (const name of Object.keys(own.sums)) own.sums[name] = (own.sums[name] ?? 0) + (found.sums[name] ?? 0);
        for (const [index, record] of usable.entries()) {
          const isMeasured = count(own, record, found.rewards[index] ?? []);
          if (heads.has("reward") && !isMeasured) suspects.push(placeOf(record.item));
        }
      }
    } catch (error) {
      if (!(error instanceof VlRewardError) || error.code === "internal_error") throw error;
      failure = error;
    }
    own.failed = Number(failure !== undefined);
    own.stopping = Number(this.#options.isStopping());
    const minutes = (performance.now() - this.#saved.time) / 60_000;
    own.saving = Number(
      world.rank === 0 && config.checkpoints.everyMinutes > 0 && minutes >= config.checkpoints.everyMinutes,
    );
    const tally = own.over(world);
    if (tally.failed > 0) {
      session.optimizer.discard();
      if (step - 1 > this.#saved.step) this.#save(step - 1, settings.name);
      throw failure ?? elsewhere(step, "a record cannot be used");
    }
    if (!Number.isFinite(tally.loss)) {
      throw diverged(step, this.#index(stage), "loss", suspects.length > 0 ? suspects : batch.map(placeOf));
    }
    const warmup = warmupStepCount(settings.warmupRatio, stage.plan.steps);
    const factor = learningRateFactor(settings.schedule, inStage, warmup, stage.plan.steps);
    const learningRate = settings.learningRate * factor;
    // Where records were set aside the mean is over fewer pairs than the gradients were scaled for.
    const gradNorm = session.optimizer.step(learningRate, tally.pairs > 0 ? planned / tally.pairs : 1);
    if (!Number.isFinite(gradNorm)) throw diverged(step, this.#index(stage), "gradient", batch.map(placeOf));
    const sums = Object.fromEntries(Object.entries(tally.sums).map(([name, sum]) => [name, sum / tally.pairs]));
    if (tally.pairs > 0) session.objectives.after(weighed, sums);
    const ranked = heads.has("reward") && answers === "all";
    listener.onStep({
      stage: settings.name,
      step,
      loss: tally.loss / tally.pairs,
      sums,
      accuracy: ranked ? tally.correct / tally.pairs : Number.NaN,
      margin: ranked ? tally.margin / tally.pairs : Number.NaN,
      gradNorm,
      learningRate,
      pairs: tally.pairs,
      tokens: tally.tokens,
      seconds: (performance.now() - began) / 1000,
    });
    return tally;
  }

  /** Tells of records that cannot be used. Throws the first one's error where none may be skipped. */
  #usable(records: readonly PreparedRecord[]): UsableRecord[] {
    const { config, listener } = this.#options;
    return records.filter((record): record is UsableRecord => {
      if ("pairs" in record) return true;
      if ("empty" in record) return false;
      const { item, error } = record;
      if (config.onBadRecord === "error") {
        throw new VlRewardError(error.code, `${placeOf(item)}: ${error.message}`, { cause: error });
      }
      listener.onSkip(placeOf(item), error);
      return false;
    });
  }

  #index(stage: RunStage): number {
    return this.#options.data.stages.indexOf(stage);
  }

  async #evaluate(stage: string, step: number): Promise<"done" | "stopped"> {
    const { config, session, world, data, listener, isStopping } = this.#options;
    if (!data.validation) return "done";
    listener.onEvaluating(step);
    const found = await evaluate(data.validation, {
      pass: session.pass,
      pool: session.pool,
      room: new Room(session.mediaBytes), // training's own is full of what its next steps wait for
      world,
      tokenBudget: session.memory.tokenBudget,
      maxLength: this.#maxLength,
      loss: config.loss,
      usable: (records) => this.#usable(records),
      isStopping,
    });
    if (found.kind === "stopped") return "stopped";
    if (found.kind === "measured") {
      const { overall, sources } = found;
      listener.onEvaluation({ stage, step, overall, sources });
    } else listener.onFailedEvaluation(step, found.error);
    return "done";
  }

  /** One process writes; whether it could is agreed, so that none waits for one that has ended. */
  #save(step: number, stage: string): void {
    const { listener, world } = this.#options;
    let failure: unknown;
    try {
      listener.onSave(step, stage);
    } catch (error) {
      failure = error;
    }
    const [failed = 0] = sumOver(world, Float64Array.of(Number(failure !== undefined)));
    if (failed > 0) throw failure ?? elsewhere(step, "the state cannot be saved");
    this.#saved = { step, time: performance.now() };
  }
}

/** Counts a record's pairs; false where a reward is no number. A tie is wrong. */
function count(tally: Tally, { item, pairs: { prompt, pairs } }: UsableRecord, rewards: readonly number[]): boolean {
  for (const { chosen, rejected } of pairs) {
    const margin = (rewards[chosen] ?? Number.NaN) - (rewards[rejected] ?? Number.NaN);
    tally.correct += Number(margin > 0);
    tally.margin += margin;
  }
  tally.pairs += item.entry.pairs.length;
  tally.tokens += prompt.branches.reduce((sum, { ids }) => sum + prompt.prefix.ids.length + ids.length, 0);
  return rewards.every(Number.isFinite);
}

/** @param inStage steps of the stage that come before */
const batchOf = ({ plan, sources }: RunStage, inStage: number): Item[] => itemsOf(plan.batch(inStage + 1), sources);

function diverged(step: number, stage: number, what: string, places: readonly string[]): VlRewardError {
  const records = `${places.slice(0, 8).join(", ")}${places.length > 8 ? ", ..." : ""}`;
  return new VlRewardError(
    "training_diverged",
    `Step ${step}: the ${what} is no finite number, with ${records}. The weights were not updated by it, and the saved states are ` +
      `as they were. Look at these records, or resume with a smaller learning rate (--set stages.${stage}.learning_rate=...).`,
  );
}

function elsewhere(step: number, what: string): VlRewardError {
  return new VlRewardError(
    "distributed_failed",
    `Step ${step}: ${what} in another process; its own message says more.`,
  );
}

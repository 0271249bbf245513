/**
 * @file The scoring engine, the library's front door: groups of answers in, their rewards out, in order.
 *
 * Nothing heavy happens on the caller's thread. Prepare threads read media and tokenize, a compute thread for each device
 * holds the model (pipeline.ts); here they get order, a bound on what is read ahead, and an end.
 */

import type { Message, PixelLimits } from "../conversation.ts";
import { answersIn, type Group, type ReadResult, type Urgency, weightOf } from "../engine/group.ts";
import type { ComputeOptions } from "../engine/pass/pass.ts";
import type { ReadRequest } from "../engine/read/reader.ts";
import type { EngineStats } from "../engine/threads/device-stats.ts";
import type { EngineInfo } from "../engine/threads/messages.ts";
import { type EngineHealth, Pipeline } from "../engine/threads/pipeline.ts";
import type { TraceTarget } from "../engine/threads/trace-file.ts";
import { VlRewardError } from "../errors.ts";
import { localPolicy, type MediaPolicy } from "../media/policy.ts";
import { inOrder } from "../tasks/in-order.ts";

/** How far `score` reads ahead of its results: this many groups, or fewer that weigh this many characters. */
export const readAhead = { groups: 256, characters: 64 * 2 ** 20 };

/** Answers of one group: its tokens, hidden states and results are held together. */
export const mostAnswers = 100_000;

export interface EngineOptions extends Omit<ComputeOptions, "sharers"> {
  /** auto, cpu, cuda or cuda:N; or several, separated by commas: each computes with a model of its own. */
  readonly device: string;
  /** For pictures that name none themselves. */
  readonly pixelLimits?: PixelLimits;
  /** What groups may have read; default `localPolicy`, all that this process can. */
  readonly media?: MediaPolicy;
  /** Where the threads write what they do; to be ended by the caller once the engine is closed. */
  readonly trace?: TraceTarget;
}

/** One score for each branch, or why the group could not be scored. */
export type GroupResult =
  | {
      readonly scores: readonly number[];
      /** Of all its conversations, the prompt counted for each answer. */
      readonly tokens: number;
    }
  | { readonly error: VlRewardError };

export interface CallOptions extends Urgency {
  readonly signal?: AbortSignal | undefined;
}

/**
 * A reward model, ready to score.
 *
 * @example Rank two answers
 * ```ts
 * import { RewardEngine } from "vl-reward";
 *
 * const engine = await RewardEngine.open({ folder: "models/tiny", dtype: "float32", device: "auto" });
 *
 * const question = [
 *   { type: "image", image: "scene-3.png" },
 *   { type: "text", text: "Which colour does the object on the left have?" },
 * ] as const;
 * const group = {
 *   prefix: [{ role: "user", content: question }],
 *   branches: [
 *     { role: "assistant", content: "It is purple." },
 *     { role: "assistant", content: "It is cyan." },
 *   ],
 *   baseFolder: "examples/pictures",
 * } as const;
 *
 * for await (const result of engine.score([group])) {
 *   if ("error" in result) console.error(result.error.code, result.error.message);
 *   else console.log(result.scores); // one number for each branch, in their order
 * }
 * await engine.close();
 * ```
 */
export class RewardEngine implements AsyncDisposable {
  readonly info: EngineInfo;
  readonly #pipeline: Pipeline;

  private constructor(pipeline: Pipeline, info: EngineInfo) {
    this.#pipeline = pipeline;
    this.info = info;
  }

  /** Loads a checkpoint. Rejects with the codes of a model that cannot be loaded, or `device_unavailable`. */
  static async open({ pixelLimits, media, trace, ...compute }: EngineOptions): Promise<RewardEngine> {
    const { pipeline, info } = await Pipeline.start(compute, pixelLimits ?? {}, media ?? localPolicy, trace);
    return new RewardEngine(pipeline, info);
  }

  /** Whether groups are computed now; once it has failed they reject. */
  get health(): EngineHealth {
    return this.#pipeline.health;
  }

  get stats(): EngineStats {
    return this.#pipeline.stats;
  }

  /**
   * Scores groups, one result each, in order. A group that cannot be scored yields its error, and the others are scored.
   * Reads ahead by at most `readAhead`. Several calls may run at once; they share the model.
   *
   * Rejects with the signal's reason as soon as that aborts, with `engine_closed` when the engine is closed, and where
   * `groups` rejects, after the results before it. Leaving the loop early cancels what was read ahead.
   */
  score(
    groups: AsyncIterable<Group> | Iterable<Group>,
    options: CallOptions = {},
  ): AsyncGenerator<GroupResult, void, undefined> {
    return this.#inOrder(groups, (group, signal) => this.scoreGroup(group, { ...options, signal }), options);
  }

  /** Scores one group. For callers that bound themselves how much they have under way, a server for instance. */
  async scoreGroup(group: Group, options: CallOptions = {}): Promise<GroupResult> {
    const result = await this.readGroup(group, [{ kind: "reward" }], options);
    if ("error" in result) return result;
    return { scores: result.answers.map(([reward]) => Number(reward)), tokens: result.tokens };
  }

  /**
   * Reads other things than the reward, or several at once: rewards at every token, embeddings, log-probabilities, what could
   * come next. As `score` in all else.
   *
   * @param requests each branch has one answer to each, in their order
   */
  read(
    groups: AsyncIterable<Group> | Iterable<Group>,
    requests: readonly ReadRequest[],
    options: CallOptions = {},
  ): AsyncGenerator<ReadResult, void, undefined> {
    return this.#inOrder(groups, (group, signal) => this.readGroup(group, requests, { ...options, signal }), options);
  }

  /** Reads one group, as `scoreGroup` scores one. */
  async readGroup(group: Group, requests: readonly ReadRequest[], options: CallOptions = {}): Promise<ReadResult> {
    const answers = answersIn(group);
    if (answers > mostAnswers) return { error: tooManyAnswers(answers) };
    return this.#pipeline.submit(group, { read: requests, ...options });
  }

  /**
   * Token ids of a text, whose control tokens are recognised, or of a conversation as the chat template writes it, each picture and
   * video one placeholder. Rejects with what is wrong with it.
   *
   * @param spellings whether each token's spelling in the vocabulary is wanted, too
   */
  async tokenize(
    given: string | readonly Message[],
    { spellings = false } = {},
  ): Promise<{ readonly ids: readonly number[]; readonly spellings?: readonly string[] }> {
    const answer = await this.#pipeline.ask({ of: given, spellings });
    return "ids" in answer ? answer : { ids: [] };
  }

  /** The text of token ids, control tokens as they are written. Rejects with `token_unknown`. */
  async detokenize(ids: readonly number[]): Promise<string> {
    const answer = await this.#pipeline.ask({ ids });
    return "text" in answer ? answer.text : "";
  }

  /** Frees the model and ends the threads. What is being scored rejects with `engine_closed`. */
  close(): Promise<void> {
    return this.#pipeline.close(new VlRewardError("engine_closed", "The engine is closed; open another one to score."));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #inOrder<Result>(
    groups: AsyncIterable<Group> | Iterable<Group>,
    work: (group: Group, signal: AbortSignal) => Promise<Result>,
    { signal }: CallOptions,
  ): AsyncGenerator<Result, void, undefined> {
    return inOrder(groups, work, {
      ahead: readAhead.groups,
      weight: weightOf,
      maxWeight: readAhead.characters,
      signal,
      ended: this.#pipeline.ended,
    });
  }
}

function tooManyAnswers(found: number): VlRewardError {
  const message = `the record has ${found} answers, at most ${mostAnswers} are read together; write them as several records`;
  return new VlRewardError("invalid_record", message);
}

/** @file What the server tells Prometheus. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { ReadResult } from "../engine/group.ts";
import type { ServedModels } from "./served-models.ts";

const seconds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];

export class Metrics {
  readonly registry = new Registry();
  readonly #requests = new Counter({
    name: "vl_reward_requests_total",
    help: "Requests answered, by route and status",
    labelNames: ["route", "status"],
    registers: [this.registry],
  });
  readonly #requestSeconds = new Histogram({
    name: "vl_reward_request_seconds",
    help: "Time from a request's headers to the end of its answer",
    labelNames: ["route"],
    buckets: seconds,
    registers: [this.registry],
  });
  readonly #groups = new Counter({
    name: "vl_reward_conversations_total",
    help: "Prompts with their answers that were computed, by how they ended: ok, or the error's code",
    labelNames: ["model", "outcome"],
    registers: [this.registry],
  });
  readonly #kept = new Counter({
    name: "vl_reward_kept_results_total",
    help: "Looks for a result that was computed before, by whether one was there: hit or miss",
    labelNames: ["model", "found"],
    registers: [this.registry],
  });
  readonly #stageSeconds = new Histogram({
    name: "vl_reward_stage_seconds",
    help: "Of a prompt with its answers, the time in the queue, in reading media and tokenizing, and in computing",
    labelNames: ["model", "stage"],
    buckets: seconds,
    registers: [this.registry],
  });

  constructor(models: ServedModels) {
    collectDefaultMetrics({ register: this.registry });
    this.#ofEngines("vl_reward_queue_length", "Groups that wait for an answer", models, ({ queue }) => queue.length);
    this.#ofEngines(
      "vl_reward_queue_age_seconds",
      "Age of the oldest of them",
      models,
      ({ queue }) => queue.oldestSeconds,
    );
    this.#ofEngines("vl_reward_queue_bytes", "What they hold in memory, estimated", models, ({ queue }) => queue.bytes);
    this.#counts("vl_reward_answers_total", "Answers that were scored", models, ({ sequences }) => sequences);
    this.#counts(
      "vl_reward_tokens_total",
      "Tokens of all of them, a prompt counted for each answer",
      models,
      ({ tokens }) => tokens,
    );
    this.#counts(
      "vl_reward_pictures_total",
      "Pictures and videos that were prepared",
      models,
      ({ visuals }) => visuals,
    );
    this.#counts("vl_reward_passes_total", "Passes through the model", models, ({ passes }) => passes);
    this.#counts(
      "vl_reward_compute_seconds_total",
      "Time of the arithmetic",
      models,
      ({ computeSeconds }) => computeSeconds,
    );
    this.#caches(models);
  }

  /** Of one answered request. @param took seconds */
  answered(route: string, status: number, took: number): void {
    this.#requests.inc({ route, status });
    this.#requestSeconds.observe({ route }, took);
  }

  /** Of one group that the engine has settled. */
  read(model: string, result: ReadResult): void {
    this.#groups.inc({ model, outcome: "error" in result ? result.error.code : "ok" });
    if ("error" in result) return;
    for (const [stage, took] of Object.entries(result.seconds)) this.#stageSeconds.observe({ model, stage }, took);
  }

  kept(model: string, found: boolean): void {
    this.#kept.inc({ model, found: found ? "hit" : "miss" });
  }

  #ofEngines(name: string, help: string, models: ServedModels, read: (stats: Stats) => number): void {
    new Gauge({
      name,
      help,
      labelNames: ["model"],
      registers: [this.registry],
      collect() {
        for (const { name, engine } of models.loaded) this.set({ model: name }, read(engine.stats));
      },
    });
  }

  /** Of what the engine counts itself. */
  #counts(name: string, help: string, models: ServedModels, read: (stats: Stats) => number): void {
    new Counter({
      name,
      help,
      labelNames: ["model"],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const { name, engine } of models.loaded) this.inc({ model: name }, read(engine.stats));
      },
    });
  }

  #caches(models: ServedModels): void {
    new Counter({
      name: "vl_reward_cache_lookups_total",
      help: "Looks into the engine's caches: prepared pictures, what was seen in them (features), prompts (prefixes)",
      labelNames: ["model", "cache", "found"],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const { name: model, engine } of models.loaded) {
          const { pictures, features, prefixes } = engine.stats.caches;
          for (const [cache, { hits, misses }] of Object.entries({ pictures, features, prefixes })) {
            this.inc({ model, cache, found: "hit" }, hits);
            this.inc({ model, cache, found: "miss" }, misses);
          }
        }
      },
    });
  }
}

type Stats = ServedModels["loaded"][number]["engine"]["stats"];

/** @file The models that a server answers with, by their names, while they load and after. */

import { quote, VlRewardError } from "../errors.ts";
import type { RewardEngine } from "../reward/engine.ts";

export interface ServedModel {
  readonly name: string;
  readonly engine: RewardEngine;
  /** Seconds since 1970, when it was loaded. */
  readonly created: number;
}

export class ServedModels {
  readonly names: readonly string[];
  readonly #loading: ReadonlyMap<string, Promise<ServedModel>>;
  readonly #loaded = new Map<string, ServedModel>();

  /** @param engines by the names they are served under, one at least; each may still be loading */
  constructor(engines: ReadonlyMap<string, Promise<RewardEngine>>) {
    this.names = [...engines.keys()];
    this.#loading = new Map(
      [...engines].map(([name, engine]) => {
        const loading = engine.then((engine) => ({ name, engine, created: Math.floor(Date.now() / 1000) }));
        loading.then(
          (model) => this.#loaded.set(name, model),
          () => {}, // whoever waits for it is told
        );
        return [name, loading];
      }),
    );
  }

  /** Those that are there, in the order in which they were named. */
  get loaded(): readonly ServedModel[] {
    return this.names.flatMap((name) => this.#loaded.get(name) ?? []);
  }

  get isReady(): boolean {
    return this.#loaded.size === this.names.length && this.loaded.every(({ engine }) => engine.health === "ready");
  }

  /** Resolves once all are loaded; rejects with the first error. */
  async ready(): Promise<readonly ServedModel[]> {
    return Promise.all(this.#loading.values());
  }

  /**
   * The model that a request names, once it is loaded. One served model answers to any name, for clients often name none or a wrong
   * one; with several, no name chooses the first.
   *
   * Rejects with `model_not_found` for an unknown name.
   */
  async find(name: string | undefined): Promise<ServedModel> {
    const [first = ""] = this.names;
    const chosen = this.names.length === 1 ? first : (name ?? first);
    return this.named(chosen);
  }

  /** The one of that very name. Rejects with `model_not_found`. */
  async named(name: string): Promise<ServedModel> {
    const loading = this.#loading.get(name);
    if (loading !== undefined) return loading;
    const found = `no model ${quote(name)} is served here`;
    throw new VlRewardError("model_not_found", `${found}; there are ${this.names.join(", ")}`);
  }

  async close(): Promise<void> {
    const engines = await Promise.allSettled(this.#loading.values());
    await Promise.all(engines.map((found) => found.status === "fulfilled" && found.value.engine.close()));
  }
}

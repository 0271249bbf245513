/** @file The objectives of one run, with the states that they have come to. */
import { VlRewardError } from "../../errors.ts";
import type { Objective, Sum, WeighedObjective } from "./objective.ts";

/** How much each objective counts, by name. */
export type ObjectiveWeights = Readonly<Record<string, number>>;

export class RunObjectives {
  readonly #all: readonly Objective[];
  readonly #states = new Map<string, unknown>();

  constructor(all: readonly Objective[]) {
    this.#all = all;
    for (const { name, state } of all) if (state) this.#states.set(name, state.start());
  }

  /** Those that these weights count, as they are now. */
  weighed(weights: ObjectiveWeights): WeighedObjective[] {
    return this.#all.flatMap((objective) => {
      const weight = weights[objective.name] ?? 0;
      return weight > 0 ? [{ objective, weight, state: this.#states.get(objective.name) }] : [];
    });
  }

  /** What steps can tell beside their loss. */
  get sums(): Sum[] {
    return this.#all.flatMap(({ sums }) => sums);
  }

  /** After a step that these have made. `means` are its sums by name, divided by its pairs. */
  after(weighed: readonly WeighedObjective[], means: Readonly<Record<string, number>>): void {
    for (const { objective, state } of weighed) {
      if (objective.state) this.#states.set(objective.name, objective.state.after(means, state));
    }
  }

  /** By name, as JSON has it. */
  get states(): Record<string, unknown> {
    return Object.fromEntries(this.#states);
  }

  /** Takes up what `states` was. Throws `checkpoint_mismatch` for what cannot have been one of these objectives' state. */
  restore(states: Readonly<Record<string, unknown>>): void {
    for (const { name, state } of this.#all) {
      if (!state || states[name] === undefined) continue;
      const { data, error } = state.schema.safeParse(states[name]);
      if (error) {
        const found = JSON.stringify(states[name]);
        throw new VlRewardError(
          "checkpoint_mismatch",
          `The saved state of the objective ${name}, ${found}, is none: ${error.issues[0]?.message}. Resume with the version ` +
            "that saved it.",
        );
      }
      this.#states.set(name, data);
    }
  }
}

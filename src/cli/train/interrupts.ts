/**
 * @file Signals that ask a run to stop: the first one is answered by what the run is doing, a second one ends the process at
 * once.
 */
import { constants } from "node:os";
import { oneRequest, stopSignals } from "../../training/processes.ts";
import type { TrainEvent } from "../../training/run.ts";
import type { TrainProgress } from "./progress.ts";

/** What becomes of a run that is asked to stop, by what it is doing. */
const answers = {
  preparing: "stopping; no step has been made",
  loading: "stopping once the model is loaded, before another step",
  training: "the state will be saved after this step",
  evaluating: "the validation is left off; the state is saved",
  finishing: "all steps are made and saved, and the checkpoint is being written",
} as const;

/** The events that another phase begins with. */
const begins: Partial<Record<TrainEvent["kind"], keyof typeof answers>> = {
  loading: "loading",
  begin: "training",
  evaluating: "evaluating",
  evaluation: "training",
  "not evaluated": "training",
  step: "training",
  finishing: "finishing",
};

export class Interrupts {
  readonly #stop = new AbortController();
  readonly #progress: TrainProgress;
  #phase: keyof typeof answers = "preparing";
  #first: { readonly signal: NodeJS.Signals; readonly time: number } | undefined;

  constructor(progress: TrainProgress) {
    this.#progress = progress;
    for (const signal of stopSignals) process.on(signal, this.#hear);
  }

  /** Aborts when the run is asked to stop. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Of a run that has stopped; where another process of it was asked to, as if this one had been. */
  get exitCode(): number {
    return 128 + constants.signals[this.#first?.signal ?? "SIGTERM"];
  }

  /** Follows what the run is doing. */
  follow(event: TrainEvent): void {
    this.#phase = begins[event.kind] ?? this.#phase;
  }

  readonly #hear = (signal: NodeJS.Signals): void => {
    if (this.#first) {
      if (performance.now() - this.#first.time < oneRequest) return;
      for (const each of stopSignals) process.off(each, this.#hear);
      process.kill(process.pid, signal);
      return;
    }
    this.#first = { signal, time: performance.now() };
    if (signal === "SIGHUP") process.stderr.on("error", () => {}); // the terminal is gone, the work is not
    this.#progress.say(`${signal}: ${answers[this.#phase]}; once more ends at once.`);
    this.#stop.abort();
  };
}

/**
 * @file How far a run over records is, on standard error.
 */
import { duration, grouped } from "../report/numbers.ts";
import { LiveLine } from "./live-line.ts";

/** What is done so far; `share` is of the whole input, between 0 and 1, when its size is known. */
export interface Done {
  readonly records: number;
  readonly failed: number;
  readonly share: number | undefined;
  /** Answers of records that are not done. */
  readonly inside: number;
}

export class Progress extends LiveLine {
  readonly #done: string;
  #start = performance.now();

  /** @param done what happens to records, such as "scored" */
  constructor(live: boolean, done: string) {
    super(live);
    this.#done = done;
  }

  /** Starts the clock of rate and remaining time: the model is loaded. */
  begin(): void {
    this.#start = performance.now();
  }

  update(done: Done): void {
    this.show(() => progressText(done, this.#seconds()));
  }

  /** Says how the run went. */
  end({ records, failed }: Done): void {
    const outcome = failed > 0 ? `, ${failed} of them could not be ${this.#done} (see their error lines)` : "";
    this.say(`${records} record${records === 1 ? "" : "s"} in ${duration(this.#seconds())}${outcome}`);
  }

  #seconds(): number {
    return (performance.now() - this.#start) / 1000;
  }
}

/** "120 records, 2 failed, 3,500 answers of the next, 4.2/s, 35%, about 3 min left". */
export function progressText({ records, failed, share, inside }: Done, seconds: number): string {
  const rate = seconds > 0 ? records / seconds : 0;
  return [
    `${records} record${records === 1 ? "" : "s"}`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(inside > 0 ? [`${grouped(inside)} answers of the next`] : []),
    rate < 1 ? `${(rate * 60).toFixed(1)}/min` : `${rate.toFixed(1)}/s`,
    ...(share !== undefined && share > 0
      ? [`${Math.floor(share * 100)}%`, `about ${duration((seconds * (1 - share)) / share)} left`]
      : []),
  ].join(", ");
}

/**
 * @file How far a run is, on standard error: one line that renews itself on a terminal, else a line now and then.
 */

/** What is done so far; `share` is of the whole input, between 0 and 1, when its size is known. */
export interface Done {
  readonly records: number;
  readonly failed: number;
  readonly share: number | undefined;
}

const liveEvery = 100; // milliseconds
const logEvery = 30_000;

export class Progress {
  readonly #live: boolean;
  #start = performance.now();
  #lastShown = performance.now();
  #onScreen = false;

  /** @param live whether standard error is a terminal that nothing else writes to */
  constructor(live: boolean) {
    this.#live = live;
  }

  /** Starts the clock of rate and remaining time: the model is loaded. */
  begin(): void {
    this.#start = performance.now();
  }

  update(done: Done): void {
    this.#show(() => progressText(done, (performance.now() - this.#start) / 1000));
  }

  /** A download's bytes. */
  download(done: number, total: number): void {
    const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
    this.#show(() => `downloading the model: ${gigabytes(done)} of ${gigabytes(total)} GB`);
  }

  /** Prints a line of its own, above the renewed one. */
  say(line: string): void {
    this.clear();
    process.stderr.write(`${line}\n`);
  }

  /** Says how the run went. */
  end({ records, failed }: Done): void {
    const seconds = (performance.now() - this.#start) / 1000;
    const outcome = failed > 0 ? `, ${failed} of them could not be scored (see their error lines)` : "";
    this.say(`${records} record${records === 1 ? "" : "s"} in ${duration(seconds)}${outcome}`);
  }

  /** Takes the renewed line off the screen. */
  clear(): void {
    if (this.#onScreen) process.stderr.write("\r\x1b[K");
    this.#onScreen = false;
  }

  #show(text: () => string): void {
    const now = performance.now();
    if (now - this.#lastShown < (this.#live ? liveEvery : logEvery)) return;
    this.#lastShown = now;
    if (!this.#live) {
      process.stderr.write(`${text()}\n`);
      return;
    }
    process.stderr.write(`\r\x1b[K${text().slice(0, (process.stderr.columns || 80) - 1)}`);
    this.#onScreen = true;
  }
}

/** "120 records, 2 failed, 4.2/s, 35%, about 3 min left". */
export function progressText({ records, failed, share }: Done, seconds: number): string {
  const rate = seconds > 0 ? records / seconds : 0;
  return [
    `${records} record${records === 1 ? "" : "s"}`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    rate < 1 ? `${(rate * 60).toFixed(1)}/min` : `${rate.toFixed(1)}/s`,
    ...(share !== undefined && share > 0
      ? [`${Math.floor(share * 100)}%`, `about ${duration((seconds * (1 - share)) / share)} left`]
      : []),
  ].join(", ");
}

/** "0.8 s", "45 s", "12 min", "3 h 5 min". */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

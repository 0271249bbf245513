/**
 * @file What a command says while it runs, on standard error: one line that renews itself on a terminal, else a line now
 * and then.
 */

const liveEvery = 100; // milliseconds
const logEvery = 30_000;

export class LiveLine {
  readonly #live: boolean;
  #lastShown = performance.now();
  #onScreen = false;

  /** @param live whether standard error is a terminal that nothing else writes to */
  constructor(live: boolean) {
    this.#live = live;
  }

  /** Renews the line, unless that has just been done: then `text` is not called. */
  show(text: () => string): void {
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

  /** A download's bytes. */
  download(done: number, total: number): void {
    const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
    this.show(() => `downloading the model: ${gigabytes(done)} of ${gigabytes(total)} GB`);
  }

  /** Prints a line of its own, above the renewed one. */
  say(line: string): void {
    this.clear();
    process.stderr.write(`${line}\n`);
  }

  /** Takes the renewed line off the screen. */
  clear(): void {
    if (this.#onScreen) process.stderr.write("\r\x1b[K");
    this.#onScreen = false;
  }
}

/** @file Ctrl-C and SIGTERM, for commands that end what they are at and then the process. */
import { constants } from "node:os";

/** Ctrl-C, or SIGTERM. */
export class Interrupted extends Error {
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM") {
    super(`interrupted by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/**
 * Listens for Ctrl-C and SIGTERM. Either aborts the run, with Interrupted as the reason, and the run then puts its output in
 * order; if that lasts long, because a step of the arithmetic does or the output's reader has stopped reading, the signal's
 * own way ends the process, as a second Ctrl-C does.
 *
 * @param beforeGivingUp is called before the process is ended that way
 */
export function listenForInterrupts(beforeGivingUp: () => void = () => {}): AbortSignal {
  const patience = 2000; // milliseconds
  const run = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      setTimeout(() => {
        try {
          beforeGivingUp();
        } finally {
          process.kill(process.pid, signal);
        }
      }, patience).unref();
      run.abort(new Interrupted(signal));
    });
  }
  return run.signal;
}

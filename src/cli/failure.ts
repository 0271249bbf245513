/**
 * @file How a command that fails says so on standard error: a sentence for people, or with `--json` one object for programs, the
 * last line. setup/launch.mjs writes the same where setup fails.
 */
import { type ErrorCode, VlRewardError } from "../errors.ts";

/** Whether `--json` was given. It is looked for before anything else is read: the command line itself may be at fault. */
export const wantsJson: boolean = flagsOf(process.argv).includes("--json");

/** What stands behind -- is no flag. */
function flagsOf(args: readonly string[]): readonly string[] {
  const end = args.indexOf("--");
  return end < 0 ? args : args.slice(0, end);
}

/** What is no VlRewardError is a defect: people are shown where it arose. */
export function tellFailure(error: unknown): void {
  if (error instanceof VlRewardError) tell(error.code, error.message, error.message);
  else if (error instanceof Error) tell("internal_error", error.message, error.stack ?? error.message);
  else tell("internal_error", String(error), String(error));
}

/** Commander's own: a wrong flag, a missing argument. */
export function tellUsageError(text: string): void {
  const message = text.replace(/^error: /, "").trimEnd();
  tell("usage", message.replaceAll("\n", " "), message);
}

function tell(code: ErrorCode, message: string, forPeople: string): void {
  process.stderr.write(wantsJson ? `${JSON.stringify({ error: { code, message } })}\n` : `vl-reward: ${forPeople}\n`);
}

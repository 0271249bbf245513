/** @file How an error crosses from one thread to another. */
import { type ErrorCode, VlRewardError } from "../errors.ts";

/** Classes do not survive the way between threads. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  /** The stack of what was caught. */
  readonly cause: string | undefined;
}

/** A defect of ours must not end a run of a million records: it becomes that record's error, with its stack as cause. */
export function toWire(error: unknown): WireError {
  if (error instanceof VlRewardError) {
    const { code, message, cause } = error;
    return { code, message, cause: cause instanceof Error ? cause.stack : undefined };
  }
  const [reason, stack] = error instanceof Error ? [error.message, error.stack] : [String(error), undefined];
  return { code: "internal_error", message: `vl-reward met a defect; please report it: ${reason}`, cause: stack };
}

export function fromWire({ code, message, cause }: WireError): VlRewardError {
  return new VlRewardError(code, message, cause === undefined ? {} : { cause });
}

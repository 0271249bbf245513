/** @file Errors of the operating system, as Node gives them: a call that failed, and the code it failed with. */

export const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && "syscall" in error;

/** @param codes as in `ENOENT`; of an error of the system, or of one that carries a code as those do */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

/** @file What git leaves in place of a large file where git-lfs was not there to fetch it. */
import { readSync } from "node:fs";
import { VlRewardError } from "../errors.ts";

const beginning = "version https://git-lfs";

/** Throws `checkpoint_damaged` for a pointer of git-lfs. */
export function assertNoPointer(descriptor: number, bytes: number, path: string): void {
  if (bytes > 1024) return;
  const head = Buffer.alloc(beginning.length);
  readSync(descriptor, head, 0, head.length, 0);
  if (head.toString() !== beginning) return;
  throw new VlRewardError(
    "checkpoint_damaged",
    `${path} is a pointer of git-lfs of ${bytes} bytes, not the weights. Fetch them with \`git lfs pull\` in that folder.`,
  );
}

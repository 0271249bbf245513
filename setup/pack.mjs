/**
 * @file What npm runs before it packs (`npm pack`, `npm publish`): dist/ and the man page are those of the sources, and no
 * addon is packed that setup would not take.
 */
import { join } from "node:path";
import { requireNode } from "./node-version.mjs";

requireNode();
const { sourceHash } = await import("./addon.mjs");
const { SetupError, sayError } = await import("./console.mjs");
const { ensureProgram, here } = await import("./ensure.mjs");
const { writeWhole } = await import("./files.mjs");
const { removeOutdated } = await import("./prebuilt.mjs");
const { capture } = await import("./processes.mjs");

try {
  await ensureProgram(here);
  removeOutdated(here.root, sourceHash(here.root));
  const program = join(here.root, "dist", "cli", "main.js");
  const { code, stdout, stderr } = await capture(process.execPath, [program, "man"], { env: process.env });
  if (code !== 0) throw new SetupError(`the man page cannot be written: ${stderr}`);
  writeWhole(join(here.root, "man", "vl-reward.1"), stdout);
} catch (error) {
  sayError(error);
  process.exit(2);
}

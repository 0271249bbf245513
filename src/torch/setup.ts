/** @file Setup, for programs that use the library and were never started by the command. */
import { VlRewardError } from "../errors.ts";

/** What setup/ensure.mjs has for us. It stands beside dist/ and is no part of it, because it runs before that is built. */
interface SetupModule {
  readonly here: unknown;
  readonly ensureAddon: (place: unknown) => Promise<void>;
}

/**
 * Finds or downloads libtorch and puts the native addon in place, as the command does at its first use; takes milliseconds
 * where that was done before. What it does goes to standard error.
 *
 * Rejects with `native_unavailable`: what is missing on this machine and how to get it.
 */
export async function setup(): Promise<void> {
  const { here, ensureAddon }: SetupModule = await import(new URL("../../setup/ensure.mjs", import.meta.url).href);
  await ensureAddon(here).catch((cause: unknown) => {
    throw new VlRewardError("native_unavailable", cause instanceof Error ? cause.message : String(cause), { cause });
  });
}

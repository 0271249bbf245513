/**
 * @file How a batch is divided among processes: by tokens, so that none waits long for another, and with entries that
 * have one prompt on one process, where it is computed once.
 */

/** What an entry of a batch costs. */
export interface Load {
  /** Equal for equal prompts. */
  readonly prompt: number;
  /** Tokens that its prompt and answers have together. */
  readonly tokens: number;
}

/**
 * The indices, ascending, of the entries that process `rank` of `world` computes. Each entry belongs to exactly one
 * process; every process finds the same division. With fewer entries than processes some have none.
 *
 * Prompts are given out from the heaviest, each to the process that has least. One whose entries weigh more than a
 * process's even share is taken apart.
 */
export function shareOf(batch: readonly Load[], rank: number, world: number): number[] {
  const total = batch.reduce((sum, { tokens }) => sum + tokens, 0);
  const byPrompt = new Map<number, Bundle>();
  for (const [index, { prompt, tokens }] of batch.entries()) {
    const bundle = byPrompt.get(prompt) ?? { entries: [], tokens: 0 };
    bundle.entries.push(index);
    bundle.tokens += tokens;
    byPrompt.set(prompt, bundle);
  }
  const bundles = [...byPrompt.values()].flatMap((bundle) =>
    bundle.tokens <= total / world
      ? [bundle]
      : bundle.entries.map((index) => ({ entries: [index], tokens: batch[index]?.tokens ?? 0 })),
  );
  bundles.sort((a, b) => b.tokens - a.tokens); // stable: equal ones in the order of the batch
  const shares = Array.from({ length: world }, (): Bundle => ({ entries: [], tokens: 0 }));
  for (const { entries, tokens } of bundles) {
    const least = shares.reduce((best, share) => (share.tokens < best.tokens ? share : best));
    least.entries.push(...entries);
    least.tokens += tokens;
  }
  return (shares[rank]?.entries ?? []).sort((a, b) => a - b);
}

interface Bundle {
  readonly entries: number[];
  tokens: number;
}

/**
 * @file What a compute thread does next, as one pure function: which groups are too late, whether a new pass begins, and of which
 * groups. It is asked between the steps of a pass, so that an urgent or a small group waits for one step and not for all that
 * came before it.
 *
 * Passes form a stack: a new one may interrupt the one that runs, which goes on when it is over. Nobody waits for ever: a group
 * that was passed over often enough comes first, and a pass that was interrupted makes a step before it is interrupted by its
 * equals again.
 */

/** A group that no pass has begun with. */
export interface WaitingGroup {
  /** In the order of arrival. */
  readonly id: number;
  /** What it adds to a pass at most. */
  readonly tokens: number;
  readonly patches: number;
  /** Higher is more urgent; 0 by default. */
  readonly priority: number;
  /** Milliseconds since 1970 after which nobody wants it any more. */
  readonly deadline?: number | undefined;
  /** Among groups of one priority, clients take turns. */
  readonly client?: string | undefined;
  /** Passes with groups that came later, which have begun without it. */
  readonly passedOver: number;
  /** Whether it shares a pass with no other: one with others has failed. */
  readonly alone: boolean;
}

/** A pass that has begun. */
export interface RunningPass {
  /** The highest of its groups. */
  readonly priority: number;
  /** Whether it is over in a step or two. */
  readonly isShort: boolean;
  /** Passes that have interrupted it since its last step. */
  readonly interruptions: number;
}

/** What one step of a pass holds. */
export interface StepBudget {
  readonly tokens: number;
  readonly patches: number;
}

export type Turn =
  | { readonly kind: "begin"; readonly ids: readonly number[] }
  /** With the pass on top of the stack. */
  | { readonly kind: "go on" }
  | { readonly kind: "rest" };

/** Passes with later groups that begin before one that was passed over comes first, whatever its priority. */
const patience = 8;

/** How often a pass is interrupted by more urgent ones before it makes a step. */
const mostInterruptions = 8;

/** Each holds memory for its prompts and pictures. */
const mostPasses = 4;

/**
 * @param running from the oldest to the one on top
 * @param now milliseconds since 1970
 */
export function schedule(
  waiting: readonly WaitingGroup[],
  running: readonly RunningPass[],
  budget: StepBudget,
  now: number,
): { readonly expired: readonly number[]; readonly turn: Turn } {
  const isLate = ({ deadline }: WaitingGroup): boolean => deadline !== undefined && deadline <= now;
  const expired = waiting.filter(isLate).map(({ id }) => id);
  const inTime = inTurns(waiting.filter((group) => !isLate(group)));
  const top = running.at(-1);
  const candidates = top ? inTime.filter((group) => interrupts(group, top, running.length, budget)) : inTime;
  const ids = fill(candidates, budget);
  if (ids.length > 0) return { expired, turn: { kind: "begin", ids } };
  return { expired, turn: { kind: top ? "go on" : "rest" } };
}

type Queued = Pick<WaitingGroup, "id" | "priority" | "passedOver" | "client">;

/**
 * The one that was passed over most, where that was too often; then who is more urgent; then every client's first, second, ...: a
 * client with thousands of groups does not hold up one that has few. Only one jumps the queue at a time: all of a long queue have been
 * passed over, and a newcomer would be behind them.
 */
export function inTurns<Group extends Queued>(groups: readonly Group[]): Group[] {
  const ranks = ranksOf(groups);
  const sorted = [...groups].sort((a, b) => compare(a, b, ranks));
  const overdue = mostPassedOver(groups);
  return overdue === undefined ? sorted : [overdue, ...sorted.filter((group) => group !== overdue)];
}

/** The first of `inTurns`, without sorting. */
export function firstInTurn<Group extends Queued>(groups: readonly Group[]): Group | undefined {
  const overdue = mostPassedOver(groups);
  if (overdue !== undefined) return overdue;
  const ranks = ranksOf(groups);
  return groups.reduce<Group | undefined>(
    (first, group) => (first === undefined || compare(group, first, ranks) < 0 ? group : first),
    undefined,
  );
}

function compare(a: Queued, b: Queued, ranks: ReadonlyMap<number, number>): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  return (ranks.get(a.id) ?? 0) - (ranks.get(b.id) ?? 0) || a.id - b.id;
}

/** How many groups of its client and priority have come before each, of those that wait: they are given in the order of arrival. */
function ranksOf(groups: readonly Queued[]): ReadonlyMap<number, number> {
  const seen = new Map<string, number>();
  return new Map(
    groups.map(({ id, client = "", priority }) => {
      const key = `${priority} ${client}`;
      const rank = seen.get(key) ?? 0;
      seen.set(key, rank + 1);
      return [id, rank];
    }),
  );
}

function mostPassedOver<Group extends Queued>(groups: readonly Group[]): Group | undefined {
  const [first] = groups;
  const most = groups.reduce((most, group) => (most && most.passedOver >= group.passedOver ? most : group), first);
  return most && most.passedOver >= patience ? most : undefined;
}

function interrupts(group: WaitingGroup, top: RunningPass, passes: number, budget: StepBudget): boolean {
  if (passes >= mostPasses || top.interruptions >= mostInterruptions) return false;
  if (group.priority > top.priority) return true;
  return !top.isShort && top.interruptions === 0 && group.priority === top.priority && isShort(group, budget);
}

export const isShort = ({ tokens, patches }: Pick<WaitingGroup, "tokens" | "patches">, budget: StepBudget): boolean =>
  tokens <= budget.tokens && patches <= budget.patches;

/** The first, and of those behind it what fits one step with it; one that does not fit holds up nobody. */
function fill(groups: readonly WaitingGroup[], budget: StepBudget): number[] {
  const [first, ...others] = groups;
  if (!first) return [];
  const ids = [first.id];
  let { tokens, patches } = first;
  for (const group of first.alone ? [] : others) {
    if (group.alone || !isShort({ tokens: tokens + group.tokens, patches: patches + group.patches }, budget)) continue;
    ids.push(group.id);
    tokens += group.tokens;
    patches += group.patches;
  }
  return ids;
}

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
  /** Passes that have begun without it since it arrived. */
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

/** Passes that begin before a group that was passed over comes first, whatever its priority. */
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
  const inTime = [...waiting.filter((group) => !isLate(group))].sort(byUrgency);
  const top = running.at(-1);
  const candidates = top ? inTime.filter((group) => interrupts(group, top, running.length, budget)) : inTime;
  const ids = fill(candidates, budget);
  if (ids.length > 0) return { expired, turn: { kind: "begin", ids } };
  return { expired, turn: { kind: top ? "go on" : "rest" } };
}

/** Who was passed over too often, then who is more urgent, then who came first. */
export function byUrgency(
  a: Pick<WaitingGroup, "id" | "priority" | "passedOver">,
  b: Pick<WaitingGroup, "id" | "priority" | "passedOver">,
): number {
  const [left, right] = [a, b].map(({ passedOver }) => Number(passedOver >= patience)) as [number, number];
  if (left !== right) return right - left;
  if (left === 0 && a.priority !== b.priority) return b.priority - a.priority;
  return a.id - b.id;
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

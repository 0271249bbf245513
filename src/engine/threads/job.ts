/** @file A group from its submission to its answer, on the caller's thread. */

import type { Stay } from "../../tasks/room.ts";
import { type Group, hasMedia, type ReadResult, type Urgency, weightOf } from "../group.ts";
import type { ReadRequest } from "../read/reader.ts";
import type { Ask } from "./messages.ts";

/** What is wanted of a group. */
export interface JobOptions extends Urgency {
  readonly read: readonly ReadRequest[];
  /** Aborts it: its promise rejects with the reason, at once. */
  readonly signal?: AbortSignal | undefined;
}

export class Job {
  readonly id: number;
  readonly group: Group;
  readonly ask: Ask;
  readonly priority: number;
  readonly client: string | undefined;
  readonly hasMedia: boolean;
  /** What it holds until it is settled. */
  readonly bytes: number;
  /** performance.now() */
  readonly submitted = performance.now();
  /** Groups that came later and went before it. */
  passedOver = 0;
  /** Threads that have died while they prepared it. */
  attempts = 0;
  /** The prepare thread that has it. */
  thread = -1;
  /** The room that its pictures and videos take; undefined for text, and while it waits. */
  stay: Stay | undefined;
  isSettled = false;
  #handed = 0;
  #mediaSeconds: number | undefined;
  #settle: { resolve: (result: ReadResult) => void; reject: (reason: unknown) => void; end: () => void } | undefined;

  constructor(id: number, group: Group, { read, priority = 0, client, deadline }: JobOptions) {
    this.id = id;
    this.group = group;
    this.priority = priority;
    this.client = client;
    this.ask = { read, priority, client, deadline };
    this.hasMedia = hasMedia(group);
    this.bytes = weightOf(group);
  }

  /** @param end called once, before the first of the two others */
  onSettled(resolve: (result: ReadResult) => void, reject: (reason: unknown) => void, end: () => void): void {
    this.#settle = { resolve, reject, end };
  }

  resolve(result: ReadResult): void {
    this.#once()?.resolve(result);
  }

  reject(reason: unknown): void {
    this.#once()?.reject(reason);
  }

  handedTo(thread: number, stay: Stay | undefined): void {
    this.thread = thread;
    this.stay = stay;
    this.#handed = performance.now();
    this.#mediaSeconds = undefined;
  }

  prepared(): void {
    this.#mediaSeconds = (performance.now() - this.#handed) / 1000;
  }

  get isPrepared(): boolean {
    return this.#mediaSeconds !== undefined;
  }

  /** Where its time went, given how long its pass took. The word that it is prepared may come after its answer: it was fast. */
  secondsWith(compute: number): { readonly queue: number; readonly media: number; readonly compute: number } {
    const media = this.#mediaSeconds ?? 0;
    return { queue: Math.max(0, (performance.now() - this.submitted) / 1000 - media - compute), media, compute };
  }

  #once() {
    if (this.isSettled) return undefined;
    this.isSettled = true;
    this.#settle?.end();
    return this.#settle;
  }
}

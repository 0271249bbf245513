/**
 * @file A bound in bytes on what is under way: whoever is to hold some takes a place in line, asks once it knows how many, and
 * waits until there is room. The first in line never waits, so that results can be taken in order, and nobody waits for an
 * empty room: what is larger than the room gets through. So what is held is what fits or one that is larger, and beside it at
 * most the first in line and what has given way.
 */

export interface Stay {
  /**
   * Once.
   *
   * @param enter called when there is room: perhaps at once
   */
  ask(bytes: number, enter: () => void): void;
  /** What it holds turned out to be less. */
  shrink(bytes: number): void;
  /** Its result is taken but not used yet: its bytes count still, but it is no longer in line before the others. */
  giveWay(): void;
  /** Gives the room back, or takes the request back. */
  leave(): void;
}

interface Guest {
  readonly order: number;
  bytes: number;
  /** Waits for this to be called; undefined before it has asked, and once inside. */
  enter: (() => void) | undefined;
}

export class Room {
  readonly capacity: number; // bytes
  readonly #line: Guest[] = []; // in order
  #used = 0;
  #peak = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Bytes that are held, and the most there ever were. */
  get use(): { readonly bytes: number; readonly peak: number } {
    return { bytes: this.#used, peak: this.#peak };
  }

  /** @param order its place in line: behind those with a smaller number, whenever they ask */
  book(order: number): Stay {
    const guest: Guest = { order, bytes: 0, enter: undefined };
    const place = this.#line.findLastIndex((other) => other.order < order) + 1;
    this.#line.splice(place, 0, guest);
    return {
      ask: (bytes, enter) => {
        guest.bytes = bytes;
        guest.enter = enter;
        this.#admit();
      },
      shrink: (bytes) => {
        const less = Math.min(bytes, guest.bytes);
        if (guest.enter === undefined) this.#used -= guest.bytes - less;
        guest.bytes = less;
        this.#admit();
      },
      giveWay: () => this.#strike(guest),
      leave: () => {
        if (guest.enter === undefined) this.#used -= guest.bytes;
        guest.bytes = 0;
        guest.enter = undefined;
        this.#strike(guest);
      },
    };
  }

  #strike(guest: Guest): void {
    const index = this.#line.indexOf(guest);
    if (index !== -1) this.#line.splice(index, 1);
    this.#admit();
  }

  /** Lets in, in order, as many as there is room for. */
  #admit(): void {
    for (const guest of [...this.#line]) {
      const { enter } = guest;
      if (enter === undefined) continue;
      const fits = this.#used === 0 || this.#used + guest.bytes <= this.capacity;
      if (!fits && guest !== this.#line[0]) return;
      guest.enter = undefined;
      this.#used += guest.bytes;
      this.#peak = Math.max(this.#peak, this.#used);
      enter();
    }
  }
}

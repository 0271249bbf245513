/**
 * @file A bound in bytes on what is under way: whoever is to hold some takes a place in line, asks once it knows how many, and
 * waits until there is room. The first in line enters though there is no room for it, unless another has done so before: results
 * can be taken in order, what is larger than the room gets through, and never is more held than the room has, one guest beside
 * it, and what has given way.
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
  /** Its result is taken but not used yet: its bytes count still, but neither they nor its place hold up the first in line. */
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
  readonly #aside = new Set<Guest>(); // have given way
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
      giveWay: () => {
        this.#strike(guest);
        this.#aside.add(guest);
        this.#admit();
      },
      leave: () => {
        if (guest.enter === undefined) this.#used -= guest.bytes;
        guest.bytes = 0;
        guest.enter = undefined;
        this.#strike(guest);
        this.#aside.delete(guest);
        this.#admit();
      },
    };
  }

  #strike(guest: Guest): void {
    const index = this.#line.indexOf(guest);
    if (index !== -1) this.#line.splice(index, 1);
  }

  /** Lets in, in order, as many as there is room for. */
  #admit(): void {
    for (const guest of [...this.#line]) {
      const { enter } = guest;
      if (enter === undefined) continue;
      const overdrawn = this.#used - this.#usedAside() > this.capacity;
      const fits = this.#used + guest.bytes <= this.capacity;
      if (!fits && (overdrawn || guest !== this.#line[0])) return;
      guest.enter = undefined;
      this.#used += guest.bytes;
      this.#peak = Math.max(this.#peak, this.#used);
      enter();
    }
  }

  #usedAside(): number {
    let bytes = 0;
    for (const guest of this.#aside) bytes += guest.bytes;
    return bytes;
  }
}

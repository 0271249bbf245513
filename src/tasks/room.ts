/**
 * @file A bound in bytes on what is under way: whoever is to hold some asks first, and waits until there is room. The oldest of
 * all who hold or wait never waits, so that results can be taken in order and what is larger than the room gets through: at
 * most one holds more than the room has, beside what has been taken.
 */

export interface Stay {
  /** What it holds turned out to be less. */
  shrink(bytes: number): void;
  /** Its result is taken but not used yet: its bytes count still, but the next oldest waits for it no longer. */
  giveWay(): void;
  /** Gives the room back, or takes the request back; once. */
  leave(): void;
}

interface Guest {
  readonly order: number;
  bytes: number;
  /** Waits for this to be called; undefined once inside. */
  enter: (() => void) | undefined;
}

export class Room {
  readonly capacity: number; // bytes
  readonly #guests: Guest[] = []; // oldest first
  #used = 0;
  #peak = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Bytes that are held, and the most there ever were. */
  get use(): { readonly bytes: number; readonly peak: number } {
    return { bytes: this.#used, peak: this.#peak };
  }

  /**
   * @param order which guests are older: those with a smaller number
   * @param enter called once, when there is room: perhaps at once
   */
  ask(order: number, bytes: number, enter: () => void): Stay {
    const guest: Guest = { order, bytes, enter };
    const place = this.#guests.findLastIndex((other) => other.order < order) + 1;
    this.#guests.splice(place, 0, guest);
    this.#admit();
    return {
      shrink: (less) => {
        if (guest.enter === undefined) this.#used -= guest.bytes - Math.min(less, guest.bytes);
        guest.bytes = Math.min(less, guest.bytes);
        this.#admit();
      },
      giveWay: () => this.#strike(guest),
      leave: () => {
        if (guest.enter === undefined) this.#used -= guest.bytes;
        guest.bytes = 0;
        this.#strike(guest);
      },
    };
  }

  #strike(guest: Guest): void {
    const index = this.#guests.indexOf(guest);
    if (index !== -1) this.#guests.splice(index, 1);
    this.#admit();
  }

  /** Lets in, oldest first, as many as there is room for. */
  #admit(): void {
    for (const [index, guest] of this.#guests.entries()) {
      if (guest.enter === undefined) continue;
      if (index > 0 && this.#used + guest.bytes > this.capacity) return;
      const { enter } = guest;
      guest.enter = undefined;
      this.#used += guest.bytes;
      this.#peak = Math.max(this.#peak, this.#used);
      enter();
    }
  }
}

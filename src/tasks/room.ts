/**
 * @file A bound in bytes on what is under way: whoever is to hold some asks first, and waits until there is room. The oldest of
 * all who hold or wait enters though there is no room for it, unless another has done so before: results can be taken in order
 * and what is larger than the room gets through, and never is more held than the room has and one guest beside it.
 */

export interface Stay {
  /** What it holds turned out to be less. */
  shrink(bytes: number): void;
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
      leave: () => {
        const index = this.#guests.indexOf(guest);
        if (index === -1) return;
        this.#guests.splice(index, 1);
        if (guest.enter === undefined) this.#used -= guest.bytes;
        this.#admit();
      },
    };
  }

  /** Lets in, oldest first, as many as there is room for. */
  #admit(): void {
    for (const [index, guest] of this.#guests.entries()) {
      if (guest.enter === undefined) continue;
      const most = index === 0 ? this.capacity : this.capacity - guest.bytes;
      if (this.#used > most) return;
      const { enter } = guest;
      guest.enter = undefined;
      this.#used += guest.bytes;
      this.#peak = Math.max(this.#peak, this.#used);
      enter();
    }
  }
}

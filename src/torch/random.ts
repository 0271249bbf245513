/** @file Seeded random numbers, apart from libtorch's global generator, so that nothing else can move them. */
import { VlRewardError } from "../errors.ts";
import { type Handle, native } from "./native.ts";

export class Generator implements Disposable {
  #handle: Handle | undefined;

  /** `seed`: a whole number from 0 to 2^53 - 1; PyTorch's `torch.Generator().manual_seed(seed)` gives the same numbers. CPU only. */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new VlRewardError("operator_failed", `Expected a whole number from 0 to 2^53 - 1 as seed, got ${seed}.`);
    }
    this.#handle = native().createGenerator(seed);
  }

  /** Throws `use_after_dispose` once the generator is freed. */
  get handle(): Handle {
    if (this.#handle === undefined) {
      throw new VlRewardError("use_after_dispose", "A random generator was used after it was freed.");
    }
    return this.#handle;
  }

  dispose(): void {
    if (this.#handle === undefined) return;
    native().freeGenerator(this.#handle);
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

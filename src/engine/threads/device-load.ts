/**
 * @file Which device a group goes to: what each still has to do, counted in tokens, in memory that all threads share. The
 * prepare threads add what they hand over, a compute thread takes off what it has answered.
 */

export class DeviceLoad {
  /** For other threads of this process. */
  readonly buffer: SharedArrayBuffer;
  readonly #tokens: Int32Array; // [devices]

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#tokens = new Int32Array(buffer);
  }

  static forDevices(count: number): DeviceLoad {
    return new DeviceLoad(new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT));
  }

  /**
   * -> the index of the device that is to compute a group, which counts as its work from now on. That with the least to do;
   * but every prompt has a device of its own, whose caches may know it, and waiting for that one costs less as long as it is
   * behind by no more than the prompt's own tokens.
   *
   * @param key equal for equal prompts, a hash in base64url
   * @param tokens of the prompt alone, and of the whole group
   */
  assign(key: string, tokens: { readonly prompt: number; readonly all: number }): number {
    const waiting = Array.from(this.#tokens, (_, device) => Atomics.load(this.#tokens, device));
    const least = Math.min(...waiting);
    const own = Buffer.from(key, "base64url").readUInt32LE(0) % waiting.length;
    const device = (waiting[own] ?? 0) <= least + tokens.prompt ? own : waiting.indexOf(least);
    Atomics.add(this.#tokens, device, tokens.all);
    return device;
  }

  /** Takes off what `assign` has added for a group: it is answered, or forgotten. */
  done(device: number, tokens: number): void {
    Atomics.sub(this.#tokens, device, tokens);
  }
}

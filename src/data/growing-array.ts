/** @file A typed array that grows: columns of millions of records without an object for each. */

export class GrowingArray<Values extends Float64Array | Uint32Array> {
  #values: Values;
  #length = 0;
  readonly #type: new (
    length: number,
  ) => Values;

  constructor(type: new (length: number) => Values) {
    this.#type = type;
    this.#values = new type(1024);
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new this.#type(2 * this.#length);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#length++] = value;
  }

  /** A copy of what has been added. */
  taken(): Values {
    const values = new this.#type(this.#length);
    values.set(this.#values.subarray(0, this.#length));
    return values;
  }
}

/**
 * @file A parameter: a place of known shape that a checkpoint or an initialiser fills. For inference a matrix may stay
 * in the checkpoint's mapped pages in its storage dtype and be converted each time it is used, into one buffer that all
 * parameters share: a float32 forward of a bfloat16 checkpoint then needs no second copy of the weights.
 */
import { VlRewardError } from "../errors.ts";
import { copyInto, type Device, type Dtype, empty, keep, narrow, type Tensor, toDevice, view } from "../torch/index.ts";

/** Where a model's weights live and what its arithmetic runs in. */
export interface Placement {
  readonly device: Device;
  readonly dtype: Dtype;
  /**
   * "mapped": inference; matrices that already fit stay in the file's pages, others are converted when used.
   * "owned": every parameter is a leaf of its own in the compute dtype, as training and gradients need.
   */
  readonly storage: "mapped" | "owned";
  readonly converter: Converter;
}

export const placement = (device: Device, dtype: Dtype, storage: Placement["storage"]): Placement => ({
  device,
  dtype,
  storage,
  converter: new Converter(),
});

/**
 * One buffer for converted weights, as large as the largest that came by. A converted weight is valid until the next one
 * is converted: enough for layers, which use a matrix at once, and six times faster than memory fresh from the system.
 */
export class Converter {
  #buffer: Tensor | undefined;

  /** @param spareRows rows of the result beyond the weight's own, with whatever the buffer holds */
  convert(stored: Tensor, dtype: Dtype, spareRows = 0): Tensor {
    const [rows = 1, ...row] = stored.shape;
    const elements = (stored.elements / rows) * (rows + spareRows);
    if (!this.#buffer || this.#buffer.elements < elements || this.#buffer.dtype !== dtype) {
      this.#buffer?.dispose();
      this.#buffer = keep(empty([elements], dtype));
    }
    const target = view(narrow(this.#buffer, 0, 0, elements), [rows + spareRows, ...row]);
    copyInto(narrow(target, 0, 0, rows), stored);
    return target;
  }

  dispose(): void {
    this.#buffer?.dispose();
    this.#buffer = undefined;
  }
}

export class Parameter {
  readonly shape: readonly number[];
  /** Fixed where a parameter computes in a dtype of its own, as the reward head does. */
  readonly #fixedDtype: Dtype | undefined;
  #stored: Tensor | undefined;
  #convert: { converter: Converter; dtype: Dtype } | undefined;

  constructor(shape: readonly number[], fixedDtype?: Dtype) {
    this.shape = shape;
    this.#fixedDtype = fixedDtype;
  }

  /** Takes `tensor` over, which has this parameter's shape, and places it. The former value, if any, is freed. */
  assign(tensor: Tensor, place: Placement): void {
    const dtype = this.#fixedDtype ?? place.dtype;
    const mapped = place.storage === "mapped" && place.device === "cpu";
    this.dispose();
    if (mapped && tensor.dtype === dtype) {
      this.#stored = keep(tensor);
    } else if (mapped && this.shape.length > 1 && !this.#fixedDtype) {
      this.#stored = keep(tensor);
      this.#convert = { converter: place.converter, dtype };
    } else {
      this.#stored = keep(toDevice(tensor, place.device, dtype, false, true));
      tensor.dispose();
    }
  }

  /** The value as it is stored, whatever its dtype. */
  get stored(): Tensor {
    if (this.#stored) return this.#stored;
    throw new VlRewardError("checkpoint_mismatch", `A parameter of shape [${this.shape}] has not been loaded.`);
  }

  /** The value in the compute dtype; where it had to be converted, valid until the next parameter's is asked for. */
  get value(): Tensor {
    const { stored } = this;
    return this.#convert ? this.#convert.converter.convert(stored, this.#convert.dtype) : stored;
  }

  /**
   * As `value`; a matrix that had to be converted comes with rows up to a multiple of 16, those beyond its own holding
   * anything: a matrix product of that width can be half again as fast.
   */
  get wideValue(): Tensor {
    const { stored } = this;
    const rows = stored.size(0);
    const spare = Math.ceil(rows / 16) * 16 - rows;
    return this.#convert ? this.#convert.converter.convert(stored, this.#convert.dtype, spare) : stored;
  }

  /** The dtype of `value`. */
  get dtype(): Dtype {
    return this.#convert?.dtype ?? this.stored.dtype;
  }

  dispose(): void {
    this.#stored?.dispose();
    this.#stored = undefined;
    this.#convert = undefined;
  }
}

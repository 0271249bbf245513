/** @file A reward as vLLM's and OpenAI's clients want vectors: a list of one number, base64 or bytes, in a type and byte order. */

import { z } from "zod";
import { VlRewardError } from "../../errors.ts";
import { toFloat16 } from "../../files/float16.ts";
import type { Body } from "./dialect.ts";
import { optional } from "./fields.ts";

const dtypes = ["float32", "float16", "bfloat16"] as const;
const orders = ["native", "little", "big"] as const;

export interface NumberEncoding {
  readonly dtype: (typeof dtypes)[number];
  /** As the client named it; "native" is little. */
  readonly endianness: (typeof orders)[number];
}

export function readNumberEncoding(body: Body): NumberEncoding {
  return {
    dtype: optional(z.enum(dtypes, `one of ${dtypes.join(", ")}`), body, "embed_dtype") ?? "float32",
    endianness: optional(z.enum(orders, `one of ${orders.join(", ")}`), body, "endianness") ?? "native",
  };
}

/** @throws VlRewardError `score_not_finite` for a number that the type has not */
export function encodeNumber(value: number, { dtype, endianness }: NumberEncoding): Uint8Array {
  const bytes = Buffer.alloc(dtype === "float32" ? 4 : 2);
  if (dtype === "float32") bytes.writeFloatLE(value);
  else bytes.writeUInt16LE(dtype === "float16" ? toFloat16(value) : toBfloat16(value));
  const largest = { float32: 3.4028235677973366e38, float16: 65_520, bfloat16: 3.39617752923046e38 }[dtype];
  if (Math.abs(value) < largest) return endianness === "big" ? bytes.reverse() : bytes;
  throw new VlRewardError("score_not_finite", `${dtype} has no number for the reward ${value}; ask for float32`);
}

/** The upper half of a float32, rounded to the nearest, ties to even. */
function toBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export const inBase64 = (value: number, encoding: NumberEncoding): string =>
  Buffer.from(encodeNumber(value, encoding)).toString("base64");

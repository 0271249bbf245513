import { describe, expect, it } from "vitest";
import { fromFloat16, toFloat16 } from "../files/float16.ts";
import { roundToFloat16, shortFloat16 } from "./short-float.ts";

describe("short decimals of float16", () => {
  it.each([
    [0x0001, 6e-8],
    [0x03ff, 6.1e-5],
    [0x0400, 6.104e-5],
    [0x2e66, 0.1],
    [0x3555, 0.3333],
    [0x3c00, 1],
    [0x3c01, 1.001],
    [0xc000, -2],
    [0x7bff, 65500],
  ])("%i is %d, as NumPy prints it", (bits, expected) => {
    expect(shortFloat16(fromFloat16(bits))).toBe(expected);
  });

  it("are the same float16 again, all of them", () => {
    for (let bits = 0; bits < 2 ** 16; bits++) {
      if ((bits & 0x7c00) === 0x7c00 || bits === 0x8000) continue; // no numbers; and JSON knows one zero
      const again = toFloat16(shortFloat16(fromFloat16(bits)));
      if (again !== bits) expect.fail(`${bits} became ${again}`);
    }
  });

  it("are of the float16 that is nearest", () => {
    expect([1 / 3, 1.0004, 70_000].map(roundToFloat16)).toEqual([0.333251953125, 1, Infinity]);
  });
});

import { describe, expect, it } from "vitest";
import { byteSize, duration, grouped, percent, percentRange, short } from "./numbers.ts";

describe("numbers for people", () => {
  it.each([
    [0, "0.0 s"],
    [9.94, "9.9 s"],
    [9.96, "10 s"],
    [99.4, "99 s"],
    [99.6, "2 min"],
    [3569, "59 min"],
    [3571, "1 h 0 min"],
    [11_100, "3 h 5 min"],
  ])("writes %d seconds as %s", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });

  it.each([
    [0, "0"],
    [0.41263, "0.413"],
    [-12.345, "-12.3"],
    [99_950, "100000"],
    [1_234_567, "1.23e+6"],
    [0.001, "0.001"],
    [0.000012, "1.2e-5"],
    [Number.NaN, "not a number"],
    [Number.NEGATIVE_INFINITY, "-infinite"],
  ])("writes %d as %s", (value, text) => {
    expect(short(value)).toBe(text);
  });

  it("writes counts, shares and sizes", () => {
    expect(grouped(1_234_567)).toBe("1,234,567");
    expect(percent(0.8735)).toBe("87.4%");
    expect(percent(Number.NaN)).toBe("unknown");
    expect(percentRange([0, 1])).toBe("0.0% to 100.0%");
    expect(byteSize(850.4e6)).toBe("850 MB");
    expect(byteSize(999.6e6)).toBe("1.0 GB");
  });
});

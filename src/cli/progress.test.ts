import { describe, expect, it } from "vitest";
import { duration, progressText } from "./progress.ts";

describe("progress", () => {
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

  it("tells rate and remaining time: a quarter in 60 s leaves 180 s", () => {
    expect(progressText({ records: 120, failed: 2, share: 0.25 }, 60)).toBe(
      "120 records, 2 failed, 2.0/s, 25%, about 3 min left",
    );
  });

  it("does not guess the end of an input of unknown length", () => {
    expect(progressText({ records: 1, failed: 0, share: undefined }, 60)).toBe("1 record, 1.0/min");
  });
});

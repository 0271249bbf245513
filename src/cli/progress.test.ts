import { describe, expect, it } from "vitest";
import { progressText } from "./progress.ts";

describe("progress", () => {
  it("tells rate and remaining time: a quarter in 60 s leaves 180 s", () => {
    expect(progressText({ records: 120, failed: 2, share: 0.25, inside: 0 }, 60)).toBe(
      "120 records, 2 failed, 2.0/s, 25%, about 3 min left",
    );
  });

  it("moves inside a record of many answers", () => {
    expect(progressText({ records: 0, failed: 0, share: undefined, inside: 12_345 }, 60)).toBe(
      "0 records, 12,345 answers of the next, 0.0/min",
    );
  });

  it("does not guess the end of an input of unknown length", () => {
    expect(progressText({ records: 1, failed: 0, share: undefined, inside: 0 }, 60)).toBe("1 record, 1.0/min");
  });
});

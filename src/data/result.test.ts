import { describe, expect, it } from "vitest";
import { VlRewardError } from "../errors.ts";
import type { PreferenceRecord } from "./record.ts";
import { errorResult, resultLine, scoreResult } from "./result.ts";

const prompt = [{ role: "user", content: "?" }] as const;
const answers = ["a", "b", "c"].map((content) => ({ role: "assistant", content }) as const);
const conversation: PreferenceRecord = { kind: "conversation", prompt, answers: answers.slice(0, 1) };
const candidates: PreferenceRecord = { kind: "candidates", prompt, answers };
const pair: PreferenceRecord = { kind: "pair", prompt, answers: answers.slice(0, 2) };

describe("results", () => {
  it("have the shape of their record", () => {
    expect(scoreResult("x", conversation, [1.5])).toEqual({ id: "x", score: 1.5 });
    expect(scoreResult(0, candidates, [-1, 2.5, 2])).toEqual({ id: 0, scores: [-1, 2.5, 2], best: 1 });
    expect(scoreResult(0, pair, [1.5, 2])).toEqual({ id: 0, chosen: 1.5, rejected: 2, margin: -0.5 });
  });

  it("name the first of equal maxima", () => {
    expect(scoreResult(0, candidates, [-3, -1, -1])).toMatchObject({ best: 1 });
    expect(scoreResult(0, candidates, [2, 2, 1])).toMatchObject({ best: 0 });
  });

  it("write a float32 with the digits it has", () => {
    const values = [0.1, -0.3, 1 / 3, 1e-10, 3.4e38, 16777216, 1.17549435e-38].map(Math.fround);
    const result = scoreResult(0, candidates, values);
    const line = resultLine(result);
    expect(line).toBe('{"id":0,"scores":[0.1,-0.3,0.33333334,1e-10,3.4e+38,16777216,1.1754944e-38],"best":4}\n');
    const read: unknown = "scores" in result ? result.scores.map(Math.fround) : [];
    expect(read).toEqual(values);
  });

  it("keep every float32 exactly", () => {
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    for (let i = 0; i < 20_000; i++) {
      bits[0] = Math.imul(i, 2_654_435_761) >>> 0;
      const value = float[0] ?? 0;
      if (!Number.isFinite(value)) continue;
      const result = scoreResult(0, conversation, [value]);
      expect("score" in result && Math.fround(result.score)).toBe(value);
    }
  });

  it.each([[[Number.NaN]], [[Number.POSITIVE_INFINITY]], [[]]])("are no numbers that JSON lacks: %j", (scores) => {
    expect(() => scoreResult(0, conversation, scores)).toThrow(expect.objectContaining({ code: "score_not_finite" }));
  });

  it("are one line, whatever the message holds", () => {
    const line = resultLine(errorResult("a\nb", new VlRewardError("invalid_json", "line\nend\u2028\ud800")));
    expect(line.split("\n")).toHaveLength(2);
    expect(JSON.parse(line)).toEqual({ id: "a\nb", error: { code: "invalid_json", message: "line\nend\u2028\ud800" } });
  });
});

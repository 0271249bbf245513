import { describe, expect, it } from "vitest";
import { jsonSize, mostDepth, mostValues } from "./json-size.ts";
import { readRecord } from "./record.ts";

/** Values in a parsed value, and how deep it is. */
function counted(value: unknown): { values: number; depth: number } {
  if (typeof value !== "object" || value === null) return { values: 1, depth: 0 };
  const inner = Object.values(value).map(counted);
  return {
    values: inner.reduce((sum, { values }) => sum + values, 1),
    depth: 1 + Math.max(0, ...inner.map(({ depth }) => depth)),
  };
}

describe("what a line would become", () => {
  it.each([
    '{"a":[1,2,{"b":"x,[{\\"\\\\"}],"c,":null}',
    '[[[1],[2]],"]]]"]',
    '"text, [1]"',
    '{"messages":[{"role":"user","content":[{"type":"text","text":"{[,"}]}],"responses":["a","b"]}',
  ])("is counted before it is parsed: %s", (json) => {
    expect(jsonSize(json)).toEqual(counted(JSON.parse(json)));
  });

  it("is no less than it is where lists and objects are empty", () => {
    expect(jsonSize("[[],{}]").values).toBeGreaterThanOrEqual(counted([[], {}]).values);
  });
});

describe("a line that would fill the memory is refused", () => {
  const answers = (count: number) =>
    `{"messages":[{"role":"user","content":"?"}],"responses":[${new Array(count).fill('""').join(",")}]}`;
  const codeOf = (line: string) => {
    const read = readRecord(line, 0);
    return "error" in read ? `${read.error.code}: ${read.error.message}` : read.record.kind;
  };

  it("too many values", () => {
    expect(codeOf(answers(100_000))).toBe("candidates");
    expect(codeOf(answers(mostValues))).toMatch(/^invalid_record: the record has 10000\d\d values, at most 1000000/);
    expect(codeOf(`{"messages":[${"{},".repeat(20_000_000)}{}]}`)).toMatch(/^invalid_record/);
  });

  it("lists in lists", () => {
    const nested = (depth: number) => `{"messages":${"[".repeat(depth)}${"]".repeat(depth)}}`;
    expect(codeOf(nested(mostDepth))).toMatch(/^invalid_record: lists and objects lie 501 deep in each other/);
    expect(codeOf(nested(50_000_000))).toMatch(/^invalid_record/);
    expect(codeOf("[".repeat(100_000_000))).toMatch(/^invalid_record/);
  });
});

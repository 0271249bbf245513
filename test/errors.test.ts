import { describe, expect, it } from "vitest";
import { quote, VlRewardError, withoutMiddle } from "../src/errors.ts";

describe("messages stay short", () => {
  it("leaves what is short as it is", () => {
    expect(quote('say "hi"')).toBe('"say \\"hi\\""');
    expect(withoutMiddle("0123456789", 10)).toBe("0123456789");
    expect(new VlRewardError("usage", "x".repeat(4000)).message).toBe("x".repeat(4000));
  });

  it("keeps both ends of what is not: a path has its name there, a message its advice", () => {
    expect(withoutMiddle("begin 0123456789 end.", 12)).toBe("begin 012 [... 9 characters ...] nd.");
    const { message } = new VlRewardError("usage", `found ${"x".repeat(200_000)}; write less`);
    expect(message.length).toBeLessThan(4100);
    expect(message).toMatch(/^found x+ \[\.\.\. 19\d{4} characters \.\.\.\] x+; write less$/);
    expect(quote("x".repeat(200_000)).length).toBeLessThan(200);
  });
});

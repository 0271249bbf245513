/** @file Who frees a tensor, and when. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { add, sum } from "./ops.ts";
import { keep, liveTensors, scope, type Tensor, tensorFrom } from "./tensor.ts";

const one = (value = 1): Tensor => tensorFrom(Float32Array.of(value), [1]);
const live = () => liveTensors().handles;

let before = 0;
beforeEach(() => {
  before = live();
});
afterEach(() => {
  expect(live(), "every test frees what it makes").toBe(before);
});

describe("scope", () => {
  test("frees what it does not return", () => {
    const lost: Tensor[] = [];
    const result = scope(() => {
      lost.push(one(), one());
      return add(one(2), one(3));
    });
    expect(live()).toBe(before + 1);
    expect(lost.every((tensor) => tensor.isDisposed)).toBe(true);
    expect(result.toTypedArray()).toEqual(Float32Array.of(5));
    result.dispose();
  });

  test("returns tensors in arrays and objects, at any depth and more than once", () => {
    const result = scope(() => {
      const shared = one(1);
      one();
      return { list: [shared, { deep: [one(2)] }], again: shared, count: 3, nothing: null, text: "text" };
    });
    expect(live()).toBe(before + 2);
    const [first, second] = result.list as [Tensor, { deep: Tensor[] }];
    expect(first).toBe(result.again);
    expect(first.toTypedArray()).toEqual(Float32Array.of(1));
    expect(second.deep[0]?.toTypedArray()).toEqual(Float32Array.of(2));
    first.dispose();
    second.deep[0]?.dispose();
  });

  test("gives what it returns to the scope around it", () => {
    const result = scope(() => {
      const inner = scope(() => {
        one();
        return [one(1), one(2)] as const;
      });
      expect(live()).toBe(before + 2);
      return inner[1];
    });
    expect(live()).toBe(before + 1);
    expect(result.toTypedArray()).toEqual(Float32Array.of(2));
    result.dispose();
  });

  test("passes a tensor through two scopes, and leaves one of an outer scope where it is", () => {
    const outside = one(1);
    const result = scope(() => scope(() => [one(2), outside] as const));
    expect(live()).toBe(before + 2);
    scope(() => outside);
    expect(outside.isDisposed).toBe(false);
    for (const tensor of result) tensor.dispose();
  });

  test("frees everything when the body throws", () => {
    const attempt = () =>
      scope(() => {
        one();
        scope(() => {
          one();
          throw new Error("inside");
        });
      });
    expect(attempt).toThrow("inside");
    expect(live()).toBe(before);
    const next = one(); // and the scopes are over
    expect(live()).toBe(before + 1);
    next.dispose();
  });

  test("refuses a promise and frees what the body made before it", async () => {
    let finish = () => {};
    const waiting = new Promise<void>((resolve) => {
      finish = resolve;
    });
    expect(() =>
      scope(async () => {
        const early = one();
        await waiting;
        return add(early, early);
      }),
    ).toThrow(expect.objectContaining({ code: "scope_misuse", message: expect.stringContaining("scope()") }));
    expect(live()).toBe(before);
    finish();
    await new Promise((resolve) => setImmediate(resolve)); // the body fails now, unheard: vitest would report it
  });
});

describe("keep", () => {
  test("takes a tensor out of all scopes", () => {
    const kept = scope(() => scope(() => [keep(one(4))]));
    expect(live()).toBe(before + 1);
    expect(kept[0]?.toTypedArray()).toEqual(Float32Array.of(4));
    kept[0]?.dispose();
  });

  test("takes one of an outer scope out too", () => {
    const found: Tensor[] = [];
    scope(() => {
      const tensor = one(5);
      scope(() => found.push(keep(keep(tensor))));
    });
    expect(live()).toBe(before + 1);
    expect(found[0]?.toTypedArray()).toEqual(Float32Array.of(5));
    found[0]?.dispose();
  });
});

describe("dispose", () => {
  test("twice is once", () => {
    const tensor = one();
    tensor.dispose();
    tensor.dispose();
    const other = one(7); // may get the same place
    tensor.dispose();
    expect(other.toTypedArray()).toEqual(Float32Array.of(7));
    other.dispose();
  });

  test("inside a scope, in its own and in an inner one", () => {
    scope(() => {
      const [own, outer] = [one(), one()];
      own.dispose();
      scope(() => outer.dispose());
      expect(live()).toBe(before);
      one();
    });
    expect(live()).toBe(before);
  });

  test("a freed tensor that is returned is left alone", () => {
    const result = scope(() => {
      const tensor = one();
      tensor.dispose();
      return tensor;
    });
    expect(result.isDisposed).toBe(true);
  });

  test("using", () => {
    {
      using tensor = one();
      expect(tensor.isDisposed).toBe(false);
      expect(live()).toBe(before + 1);
    }
    expect(live()).toBe(before);
  });

  test.each([
    ["an operator", (tensor: Tensor) => sum(tensor)],
    ["shape", (tensor: Tensor) => tensor.shape],
    ["dtype", (tensor: Tensor) => tensor.dtype],
    ["toTypedArray", (tensor: Tensor) => tensor.toTypedArray()],
    ["keep", (tensor: Tensor) => keep(tensor)],
  ])("use after it throws by name: %s", (_, use) => {
    const [known, unknown] = [one(), one()];
    expect(known.shape).toEqual([1]);
    known.dispose();
    unknown.dispose();
    expect(() => use(known)).toThrow(
      expect.objectContaining({ code: "use_after_dispose", message: expect.stringMatching(/of shape \[1\] was used/) }),
    );
    expect(() => use(unknown)).toThrow(expect.objectContaining({ code: "use_after_dispose" }));
  });
});

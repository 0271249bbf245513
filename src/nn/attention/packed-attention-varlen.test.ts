import { describe, expect, test } from "vitest";
import {
  cat,
  chooseDevice,
  type Device,
  type Dtype,
  Generator,
  narrow,
  randn,
  scaledDotProductAttention,
  scope,
  select,
  type Tensor,
  tensorFrom,
  toDevice,
  toDtype,
  transpose,
  unsqueeze,
} from "../../torch/index.ts";
import { type KeyValues, PackedAttention, type PackedGroup, type Run } from "./packed-attention.ts";
import { planVarlen, VarlenAttention } from "./packed-attention-varlen.ts";
import { flashVarlen, offsetsOf, takesVarlen, type VarlenKernel } from "./varlen-kernel.ts";

const [heads, keyHeads, width] = [4, 2, 16];

/** The kernel by its definition: every sequence by itself, with a mask that aligns the ends. */
const bySequence: VarlenKernel = (q, k, v, { queries, keys, longestQueries, longestKeys }, { causal }) => {
  const [queryOffsets, keyOffsets] = [queries, keys].map((offsets) => [...(offsets.toTypedArray() as Int32Array)]);
  const parts: Tensor[] = [];
  const batch = (x: Tensor): Tensor => unsqueeze(transpose(x, 0, 1), 0);
  for (let i = 0; i + 1 < (queryOffsets?.length ?? 0); i++) {
    const [q0 = 0, q1 = 0] = queryOffsets?.slice(i) ?? [];
    const [k0 = 0, k1 = 0] = keyOffsets?.slice(i) ?? [];
    const [rows, columns] = [q1 - q0, k1 - k0];
    expect(rows).toBeGreaterThan(0);
    expect(rows).toBeLessThanOrEqual(longestQueries);
    expect(columns).toBeLessThanOrEqual(longestKeys);
    const values = Float32Array.from({ length: rows * columns }, (_, place) =>
      causal && (place % columns) - Math.floor(place / columns) > columns - rows ? Number.NEGATIVE_INFINITY : 0,
    );
    const mask = tensorFrom(values, [1, 1, rows, columns]);
    const own = (x: Tensor): Tensor => batch(narrow(x, 0, k0, columns));
    const attended = scaledDotProductAttention(
      batch(narrow(q, 0, q0, rows)),
      own(k),
      own(v),
      mask,
      0,
      false,
      null,
      true,
    );
    parts.push(transpose(select(attended, 0, 0), 0, 1));
  }
  expect(queryOffsets?.at(-1)).toBe(q.size(0));
  expect(keyOffsets?.at(-1)).toBe(k.size(0));
  return cat(parts, 0);
};

/** before: keys computed earlier; then the prefix's and the branches' lengths in the stream. */
type Shape = readonly [before: number, prefix: number, ...branches: number[]];

const shapes: Readonly<Record<string, readonly Shape[]>> = {
  "one conversation": [[0, 37]],
  "answers to one prompt": [[0, 20, 5, 1, 9]],
  "several prompts": [
    [0, 20, 5, 6],
    [0, 3, 30],
    [0, 17, 1, 1, 2],
  ],
  "prompts computed before": [
    [40, 0, 3, 4],
    [0, 12, 5],
    [7, 0, 9],
  ],
  "half a prompt computed before": [
    [32, 11, 6, 2],
    [0, 16],
  ],
  "a prompt cut before its answers, and padding": [
    [0, 24],
    [0, 15],
  ],
};

function streamOf(all: readonly Shape[], seed: number, device: Device = "cpu", dtype: Dtype = "float32") {
  const generator = new Generator(seed);
  const random = (rows: number, own: number): Tensor => toDevice(randn([rows, own, width], generator), device, dtype);
  let tokens = 0;
  const append = (length: number): Run => {
    tokens += length;
    return { start: tokens - length, length };
  };
  const groups = all.map(([before, prefix, ...branches]): PackedGroup => {
    const pair = (): KeyValues => ({ keys: random(before, keyHeads), values: random(before, keyHeads) });
    return {
      ...(before > 0 && { before: [pair(), pair()] }), // of two layers
      prefix: append(prefix),
      branches: branches.map(append),
    };
  });
  const branches = groups.reduce((sum, group) => sum + group.branches.length, 0);
  return {
    groups,
    q: random(tokens, heads),
    k: random(tokens, keyHeads),
    v: random(tokens, keyHeads),
    lastQ: random(branches + 3, heads),
  };
}

function difference(a: Tensor, b: Tensor): number {
  const [left, right] = [a, b].map((x) => toDtype(x, "float32").toFloat32Array());
  expect(left?.length).toBe(right?.length);
  return Math.max(...(left ?? []).map((value, i) => Math.abs(value - (right?.[i] ?? Number.NaN))));
}

describe.each(Object.entries(shapes))("%s", (_, all) => {
  test.each([1, 50, 2 ** 16])("gives what PackedAttention gives, with at most %i keys a call", (mostKeys) => {
    scope(() => {
      const { groups, q, k, v, lastQ } = streamOf(all, 1);
      const plain = new PackedAttention(groups, q);
      const varlen = new VarlenAttention(groups, "cpu", undefined, { kernel: bySequence, mostKeys });
      for (const layer of [0, 1]) {
        expect(difference(varlen.attend(layer, q, k, v), plain.attend(layer, q, k, v))).toBeLessThan(2e-6);
        expect(difference(varlen.attendLast(layer, lastQ, k, v), plain.attendLast(layer, lastQ, k, v))).toBeLessThan(
          2e-6,
        );
      }
    });
  });

  test("tells of the same prefixes", () => {
    scope(() => {
      const { groups, q, k, v } = streamOf(all, 2);
      const told: { group: PackedGroup; layer: number; keys: Tensor; values: Tensor }[][] = [[], []];
      const listener = (index: number) => (group: PackedGroup, layer: number, prefix: KeyValues) => {
        told[index]?.push({ group, layer, ...prefix });
      };
      new PackedAttention(groups, q, listener(0)).attend(1, q, k, v);
      new VarlenAttention(groups, "cpu", listener(1), { kernel: bySequence }).attend(1, q, k, v);
      const [expected, found] = told;
      expect(found).toHaveLength(groups.length);
      for (const [index, prefix] of (expected ?? []).entries()) {
        const own = found?.[index];
        expect(own).toMatchObject({ group: prefix.group, layer: 1 });
        expect(own?.keys.toTypedArray()).toEqual(prefix.keys.toTypedArray());
        expect(own?.values.toTypedArray()).toEqual(prefix.values.toTypedArray());
      }
    });
  });
});

test("the offsets and rows of a small plan, by hand", () => {
  scope(() => {
    // Rows: 0 and 1 were computed before for the second group; the stream begins at row 2.
    const { groups } = streamOf(
      [
        [0, 2, 1, 2],
        [2, 0, 1],
      ],
      3,
    );
    const [all, ...others] = planVarlen(groups, "all");
    expect(others).toEqual([]);
    expect(all).toEqual({
      run: { start: 0, length: 6 },
      queries: Int32Array.of(0, 2, 3, 5, 6),
      keys: Int32Array.of(0, 2, 5, 9, 12),
      keyRows: Int32Array.of(2, 3, 2, 3, 4, 2, 3, 5, 6, 0, 1, 7),
      longestQueries: 2,
      longestKeys: 4,
    });
    expect(planVarlen(groups, "last")).toMatchObject([
      { run: { start: 0, length: 3 }, queries: Int32Array.of(0, 1, 2, 3) },
    ]);
    expect(planVarlen(groups, "last", 4).map(({ run }) => run)).toEqual([
      { start: 0, length: 1 },
      { start: 1, length: 1 },
      { start: 2, length: 1 },
    ]);
  });
});

test("offsets begin at nothing and end at the sum", () => {
  expect([...offsetsOf([4, 4, 1])]).toEqual([0, 4, 8, 9]);
});

test("the CPU keeps the plain kernel", () => {
  expect(takesVarlen({ dtype: "bfloat16", device: "cpu" }, 128)).toBe(false);
});

const device = chooseDevice("auto");

describe.skipIf(!takesVarlen({ dtype: "bfloat16", device }, width))(
  "the kernel of this machine's GPU (needs a GPU)",
  () => {
    test.each(Object.entries(shapes))("%s: as by its definition", (_, all) => {
      scope(() => {
        const { groups, q, k, v, lastQ } = streamOf(all, 4, device, "bfloat16");
        const onCpu = streamOf(all, 4);
        const [there, here] = [
          new VarlenAttention(groups, device),
          new VarlenAttention(onCpu.groups, "cpu", undefined, { kernel: bySequence }),
        ];
        const tolerance = 0.03; // of values about one, in bfloat16
        expect(difference(there.attend(1, q, k, v), here.attend(1, onCpu.q, onCpu.k, onCpu.v))).toBeLessThan(tolerance);
        const last = here.attendLast(1, onCpu.lastQ, onCpu.k, onCpu.v);
        expect(difference(there.attendLast(1, lastQ, k, v), last)).toBeLessThan(tolerance);
      });
    });

    test("without causality, over strided values", () => {
      scope(() => {
        const x = randn([40, 3, heads, 80], new Generator(5));
        const onGpu = toDevice(x, device, "bfloat16");
        const lengths = (place: Device) => {
          const offsets = tensorFrom(offsetsOf([16, 20, 4]), [4], "int32", place);
          return { queries: offsets, keys: offsets, longestQueries: 20, longestKeys: 20 };
        };
        const attend = (kernel: VarlenKernel, parts: Tensor, place: Device): Tensor =>
          kernel(select(parts, 1, 0), select(parts, 1, 1), select(parts, 1, 2), lengths(place), { causal: false });
        expect(difference(attend(flashVarlen, onGpu, device), attend(bySequence, x, "cpu"))).toBeLessThan(0.03);
      });
    });
  },
);

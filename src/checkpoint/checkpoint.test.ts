import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bytesOf, type FileEntry, safetensors } from "../../test/safetensors-file.ts";
import { readJson } from "../files/json.ts";
import { keep, liveTensors, type Tensor } from "../torch/index.ts";
import { fillSlots, listTensors } from "./checkpoint.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-checkpoint-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const values = (...numbers: number[]): FileEntry => ({
  dtype: "F32",
  shape: [numbers.length],
  bytes: bytesOf(Float32Array.from(numbers)),
});

function write(name: string, content: Record<string, FileEntry> | string): void {
  writeFileSync(path.join(folder, name), typeof content === "string" ? content : safetensors(content));
}

const writeIndex = (weightMap: unknown): void =>
  write("model.safetensors.index.json", JSON.stringify({ metadata: { total_size: 0 }, weight_map: weightMap }));

const places = (): Record<string, string> =>
  Object.fromEntries([...listTensors(folder)].map(([name, { file }]) => [name, path.relative(folder, file)]));

const failure = (code: string, ...parts: string[]): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(new RegExp(parts.join(".*"), "s")) });

describe("listTensors", () => {
  test("one file, and the value head beside it", () => {
    write("model.safetensors", { a: values(1), b: values(2) });
    expect(places()).toEqual({ a: "model.safetensors", b: "model.safetensors" });
    write("value_head.safetensors", { "v_head.summary.weight": values(3) });
    expect(places()).toEqual({
      a: "model.safetensors",
      b: "model.safetensors",
      "v_head.summary.weight": "value_head.safetensors",
    });
  });

  test("the shards of the index; other safetensors files beside them are ignored", () => {
    write("model-1.safetensors", { a: values(1), b: values(2) });
    write("model-2.safetensors", { c: values(3) });
    write("model-3-of-another-run.safetensors", { a: values(4), d: values(5) });
    write("optimizer.safetensors", "not safetensors at all");
    writeIndex({ a: "model-1.safetensors", b: "model-1.safetensors", c: "model-2.safetensors" });
    expect(places()).toEqual({ a: "model-1.safetensors", b: "model-1.safetensors", c: "model-2.safetensors" });
  });

  test("the index may list the value head too", () => {
    write("model-1.safetensors", { a: values(1) });
    write("value_head.safetensors", { h: values(2) });
    writeIndex({ a: "model-1.safetensors", h: "value_head.safetensors" });
    expect(places()).toEqual({ a: "model-1.safetensors", h: "value_head.safetensors" });
  });

  test("a missing shard is named", () => {
    write("model-2.safetensors", { b: values(1) });
    writeIndex({ a: "model-1.safetensors", b: "model-2.safetensors" });
    expect(() => listTensors(folder)).toThrow(
      failure("checkpoint_damaged", "lacks 1 of 2 shards", "model-1.safetensors"),
    );
  });

  test("a tensor that is not in the shard of the index is named", () => {
    write("model-1.safetensors", { a: values(1), elsewhere: values(4) });
    write("model-2.safetensors", { c: values(3) });
    writeIndex({
      a: "model-1.safetensors",
      absent: "model-1.safetensors",
      c: "model-2.safetensors",
      elsewhere: "model-2.safetensors",
    });
    const found = failure(
      "checkpoint_damaged",
      "absent \\(model-1.safetensors\\), elsewhere \\(model-2.safetensors\\)",
    );
    expect(() => listTensors(folder)).toThrow(found);
  });

  test("a tensor in two files is named with both", () => {
    write("model-1.safetensors", { a: values(1), b: values(2) });
    write("model-2.safetensors", { a: values(3), c: values(4) });
    writeIndex({ a: "model-1.safetensors", b: "model-1.safetensors", c: "model-2.safetensors" });
    const found = failure("checkpoint_damaged", '"a" is in both ', "model-1.safetensors", "model-2.safetensors");
    expect(() => listTensors(folder)).toThrow(found);
  });

  test.each([
    "../model.safetensors",
    "/etc/model.safetensors",
    "sub/model.safetensors",
    "..\\model.safetensors",
    "..",
    "",
  ])("an index that names %j is refused", (file) => {
    writeIndex({ a: file });
    expect(() => listTensors(folder)).toThrow(failure("config_invalid", "index.json"));
  });

  test.each([
    ["not JSON", "{"],
    ["without weight_map", "{}"],
    ["with a list of files", '{"weight_map": ["model.safetensors"]}'],
  ])("an index %s is refused", (_, text) => {
    write("model.safetensors.index.json", text);
    expect(() => listTensors(folder)).toThrow(failure("config_invalid", "index.json"));
  });

  test("an adapter without its base is not supported", () => {
    write("adapter_config.json", "{}");
    write("adapter_model.safetensors", { "base_model.lora_A.weight": values(1) });
    expect(() => listTensors(folder)).toThrow(failure("checkpoint_unsupported", "adapter_config.json", "[Mm]erge"));
  });

  test("weights in another format alone are refused, with what to do", () => {
    write("model.gguf", "GGUF");
    expect(() => listTensors(folder)).toThrow(failure("checkpoint_damaged", "model.gguf", "converted to safetensors"));
  });
});

describe("fillSlots", () => {
  const slots = (shapes: Record<string, number[]>) =>
    new Map(Object.entries(shapes).map(([name, shape]) => [name, { name, shape }]));

  test("each slot gets the tensor of its name, across files, and owns it", () => {
    write("model-1.safetensors", { a: values(1, 2), b: values(3) });
    write("model-2.safetensors", { c: values(4, 5, 6) });
    writeIndex({ a: "model-1.safetensors", b: "model-1.safetensors", c: "model-2.safetensors" });
    const before = liveTensors();
    const filled = new Map<string, Tensor>();
    fillSlots(slots({ c: [3], a: [2], b: [1] }), listTensors(folder), (slot, tensor) => {
      filled.set(slot.name, keep(tensor));
    });
    expect(liveTensors()).toEqual({ handles: before.handles + 3, bytes: before.bytes + 24 });
    expect(Object.fromEntries([...filled].map(([name, tensor]) => [name, [...tensor.toFloat32Array()]]))).toEqual({
      a: [1, 2],
      b: [3],
      c: [4, 5, 6],
    });
    for (const tensor of filled.values()) tensor.dispose();
    expect(liveTensors()).toEqual(before);
  });

  test("what is missing, unexpected and misshapen is listed in one error, and nothing is loaded", () => {
    write("model.safetensors", { fits: values(1), long: values(1, 2), extra1: values(1), extra2: values(1) });
    const before = liveTensors();
    let calls = 0;
    const fill = (): void => {
      fillSlots(slots({ fits: [1], long: [3, 1], gone1: [1], gone2: [2] }), listTensors(folder), () => {
        calls++;
      });
    };
    expect(fill).toThrow(
      failure(
        "checkpoint_mismatch",
        "missing 2: gone1, gone2",
        "unexpected 2: extra1, extra2",
        "misshapen 1: long is \\[2\\], expected \\[3, 1\\]",
      ),
    );
    expect(calls).toBe(0);
    expect(liveTensors()).toEqual(before);
  });

  test("when a slot refuses its tensor, those that no slot has taken over are freed", () => {
    write("model.safetensors", { a: values(1), b: values(2), c: values(3) });
    const before = liveTensors();
    const fill = (): void => {
      fillSlots(slots({ a: [1], b: [1], c: [1] }), listTensors(folder), () => {
        throw new Error("no place for it");
      });
    };
    expect(fill).toThrow("no place for it");
    expect(liveTensors()).toEqual(before);
  });
});

test("readJson names a file that is absent or broken", () => {
  const file = path.join(folder, "config.json");
  expect(() => readJson(file)).toThrow(failure("config_invalid", "config.json: it cannot be read"));
  writeFileSync(file, "{,}");
  expect(() => readJson(file)).toThrow(failure("config_invalid", "config.json: it is not JSON"));
  writeFileSync(file, "[1]");
  expect(readJson(file)).toEqual([1]);
});

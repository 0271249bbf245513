import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32c as independentCrc32c } from "@node-rs/crc32";
import protobuf from "protobufjs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { summarise } from "./metrics.ts";
import { crc32c, eventRecord, TensorBoardLog } from "./tensorboard.ts";

const fixtures = new URL("../../../test/fixtures/tensorboard/", import.meta.url);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vl-reward-tensorboard-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A reader of event files that shares nothing with the writer: protobuf.js, the schema, a CRC from a Rust crate. */
function readEvents(file: string | URL): { [key: string]: unknown }[] {
  const schema = protobuf.parse(readFileSync(new URL("event.proto", fixtures), "utf8"), { keepCase: true }).root;
  const content = readFileSync(file);
  const events = [];
  for (let at = 0; at < content.length; ) {
    const length = Number(content.readBigUInt64LE(at));
    checkMasked(content.readUInt32LE(at + 8), content.subarray(at, at + 8));
    const message = content.subarray(at + 12, at + 12 + length);
    checkMasked(content.readUInt32LE(at + 12 + length), message);
    const type = schema.lookupType("tensorboard.Event");
    events.push(type.toObject(type.decode(message), { longs: Number, enums: String }));
    at += 16 + length;
  }
  return events;
}

/** mask(crc) = rotate right by 15 bits, plus 0xa282ead8: undone and compared. */
function checkMasked(masked: number, bytes: Buffer): void {
  const rotated = BigInt.asUintN(32, BigInt(masked) - 0xa282ead8n);
  const crc = BigInt.asUintN(32, (rotated << 15n) | (rotated >> 17n));
  expect(Number(crc)).toBe(independentCrc32c(bytes));
}

function step(number: number) {
  const numbers = { loss: 0.5, sums: {}, accuracy: 0.75, margin: -1, gradNorm: 0, learningRate: 0.25 };
  return { stage: "multimodal", step: number, ...numbers, pairs: 64, tokens: 4096, seconds: 2 };
}

describe("crc32c", () => {
  // RFC 3720, B.4
  it.each([
    ["32 zeros", Buffer.alloc(32), 0x8a9136aa],
    ["32 bytes of ones", Buffer.alloc(32, 0xff), 0x62a8ab43],
    ["0 to 31", Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    ["31 to 0", Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c],
    [
      "an iSCSI command",
      Buffer.from(
        "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018 28000000 00000000 02000000 00000000".replaceAll(
          " ",
          "",
        ),
        "hex",
      ),
      0xd9963a56,
    ],
  ])("of %s", (_name, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });
});

describe("event files", () => {
  it("have the bytes that TensorBoard itself writes", () => {
    const events = [
      { wallTime: 1700000000.25, fileVersion: "brain.Event:2" },
      { wallTime: 1700000000.5, step: 1, start: true },
      { wallTime: 1700000001, step: 1, scalars: [["train/loss", 0.7]] as const },
      {
        wallTime: 1700000002,
        step: 300,
        scalars: [
          ["train/loss", 0],
          ["validation_accuracy/réseau 图", -1.5e-30],
          ["x".repeat(200), Number.POSITIVE_INFINITY],
        ] as const,
      },
      { wallTime: 1700000003, step: 2 ** 40 + 5, scalars: [["a", 1e5]] as const },
    ];
    const expected = readFileSync(new URL("five.events", fixtures)).toString("hex");
    expect(Buffer.concat(events.map(eventRecord)).toString("hex")).toBe(expected);
  });

  it("are read back by another reader", () => {
    const before = Date.now() / 1000;
    const log = TensorBoardLog.open(join(folder, "tensorboard"), { afterStep: 0 });
    log.step(step(1));
    log.evaluation({
      stage: "multimodal",
      step: 1,
      ...summarise([
        { source: "réseau", margin: 2, loss: 0.25 },
        { source: "b/c", margin: -1, loss: 0.5 },
      ]),
    });
    const [name = ""] = readdirSync(join(folder, "tensorboard"));
    const events = readEvents(join(folder, "tensorboard", name)); // each step is there at once, before the log is closed
    log.close();

    expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\..+\.\d+$/);
    for (const { wall_time } of events) {
      expect(wall_time).toBeGreaterThanOrEqual(before);
      expect(wall_time).toBeLessThanOrEqual(Date.now() / 1000);
    }
    expect(events.map(({ wall_time: _, ...rest }) => rest)).toEqual([
      { file_version: "brain.Event:2" },
      { step: 1, session_log: { status: "START" } },
      {
        step: 1,
        summary: {
          value: [
            { tag: "train/loss", simple_value: 0.5 },
            { tag: "train/accuracy", simple_value: 0.75 },
            { tag: "train/margin", simple_value: -1 },
            { tag: "train/grad_norm", simple_value: 0 },
            { tag: "train/learning_rate", simple_value: 0.25 },
            { tag: "train/pairs_per_second", simple_value: 32 },
            { tag: "train/tokens_per_second", simple_value: 2048 },
          ],
        },
      },
      {
        step: 1,
        summary: {
          value: [
            { tag: "validation/accuracy", simple_value: 0.5 },
            { tag: "validation/loss", simple_value: 0.375 },
            { tag: "validation/margin", simple_value: 0.5 },
            { tag: "validation_accuracy/réseau", simple_value: 1 },
            { tag: "validation_accuracy/b/c", simple_value: 0 },
          ],
        },
      },
    ]);
  });

  it("hold what objectives sum up, and nothing of what a step has not measured", () => {
    const log = TensorBoardLog.open(folder, { afterStep: 0 });
    log.step({ ...step(1), sums: { language_loss: 1.5 }, accuracy: Number.NaN, margin: Number.NaN });
    log.close();
    const [name = ""] = readdirSync(folder);
    const [, , { summary } = {}] = readEvents(join(folder, name));
    expect(summary).toEqual({
      value: [
        { tag: "train/loss", simple_value: 0.5 },
        { tag: "train/language_loss", simple_value: 1.5 },
        { tag: "train/grad_norm", simple_value: 0 },
        { tag: "train/learning_rate", simple_value: 0.25 },
        { tag: "train/pairs_per_second", simple_value: 32 },
        { tag: "train/tokens_per_second", simple_value: 2048 },
      ],
    });
  });

  it("of a run that goes on come behind those before and say from where, whatever the clock says", () => {
    const future = "events.out.tfevents.9999999998.elsewhere.7";
    writeFileSync(join(folder, future), "");
    const log = TensorBoardLog.open(folder, { afterStep: 200 });
    log.close();
    const [earlier, later = ""] = readdirSync(folder).sort();
    expect(earlier).toBe(future);
    expect(readEvents(join(folder, later))).toMatchObject([
      { file_version: "brain.Event:2" },
      { step: 201, session_log: { status: "START" } },
    ]);
  });

  it("cannot be written where a file stands in the folder's place", () => {
    writeFileSync(join(folder, "tensorboard"), "");
    expect(() => TensorBoardLog.open(join(folder, "tensorboard"), { afterStep: 0 })).toThrow(
      expect.objectContaining({ code: "output_unwritable" }),
    );
  });
});

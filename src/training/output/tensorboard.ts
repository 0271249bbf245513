/**
 * @file Metrics as an event file that TensorBoard reads: scalars by step, in a record stream with checksums.
 *
 * The format is TensorFlow's: records of the TFRecord framing, each one `Event` message (tensorboard/compat/proto,
 * event.proto and summary.proto), of which a handful of fields is written here.
 */
import { readdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { AppendFile } from "../../files/append-file.ts";
import { writing } from "../../files/durable-file.ts";
import { makeFolder } from "../../files/folder.ts";
import type { Accuracy, Evaluation, StepMetrics } from "./metrics.ts";

/** The event file of one run of the process; a run that goes on from a saved state begins another one beside it. */
export class TensorBoardLog {
  readonly #file: AppendFile;

  private constructor(file: AppendFile) {
    this.#file = file;
  }

  /**
   * @param folder made if it is not there
   * @param afterStep the step that the run goes on from, 0 for a new one. TensorBoard then hides what an earlier file says
   * of later steps. It takes the first start that it sees for no restart, so a new run has to announce its own as well.
   * @throws VlRewardError `output_unwritable`
   */
  static open(folder: string, { afterStep }: { readonly afterStep: number }): TensorBoardLog {
    const name = writing(folder, () => {
      makeFolder(folder);
      return nextFileName(folder);
    });
    const log = new TensorBoardLog(AppendFile.open(join(folder, name), 0));
    const wallTime = Date.now() / 1000;
    log.#write({ wallTime, fileVersion: "brain.Event:2" });
    log.#write({ wallTime, step: afterStep + 1, start: true });
    return log;
  }

  /**
   * What a step has not measured, as accuracy where no answers are ranked, is left out. Throws VlRewardError
   * `output_unwritable`, as when the disk is full; whole events remain.
   */
  step({ step, loss, sums, accuracy, margin, gradNorm, learningRate, pairs, tokens, seconds }: StepMetrics): void {
    const scalars: readonly Scalar[] = [
      ["train/loss", loss],
      ...Object.entries(sums).map(([name, value]): Scalar => [`train/${name}`, value]),
      ["train/accuracy", accuracy],
      ["train/margin", margin],
      ["train/grad_norm", gradNorm],
      ["train/learning_rate", learningRate],
      ["train/pairs_per_second", pairs / seconds],
      ["train/tokens_per_second", tokens / seconds],
    ];
    this.#scalars(
      step,
      scalars.filter(([, value]) => !Number.isNaN(value)),
    );
  }

  /** Throws as `step` does. */
  evaluation({ step, overall, sources }: Evaluation): void {
    const bySource = [...sources].map(([source, { accuracy }]): Scalar => [`validation_accuracy/${source}`, accuracy]);
    this.#scalars(step, [...overallScalars(overall), ...bySource]);
  }

  close(): void {
    this.#file.close();
  }

  #scalars(step: number, scalars: readonly Scalar[]): void {
    this.#write({ wallTime: Date.now() / 1000, step, scalars });
  }

  #write(event: Event): void {
    this.#file.append(eventRecord(event));
  }
}

type Scalar = readonly [tag: string, value: number];

function overallScalars({ accuracy, loss, margin }: Accuracy): Scalar[] {
  return [
    ["validation/accuracy", accuracy],
    ["validation/loss", loss],
    ["validation/margin", margin],
  ];
}

/** TensorBoard reads a folder's files in the order of their names and never goes back: a new one has to be the last. */
function nextFileName(folder: string): string {
  const times = readdirSync(folder).map((name) => Number(/^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1] ?? 0));
  const time = times.reduce((latest, time) => Math.max(latest, time + 1), Math.floor(Date.now() / 1000));
  return `events.out.tfevents.${String(time).padStart(10, "0")}.${hostname()}.${process.pid}`;
}

/** One of: the version of the file, which comes first; the start of a run at a step; values of a step. */
export interface Event {
  readonly wallTime: number; // seconds since 1970
  readonly step?: number;
  readonly fileVersion?: string;
  readonly start?: boolean;
  readonly scalars?: readonly Scalar[];
}

/** -> length, its checksum, the message, its checksum; integers are little-endian */
export function eventRecord(event: Event): Buffer {
  const message = eventMessage(event);
  const record = Buffer.alloc(8 + 4 + message.length + 4);
  record.writeBigUInt64LE(BigInt(message.length), 0);
  record.writeUInt32LE(masked(crc32c(record.subarray(0, 8))), 8);
  message.copy(record, 12);
  record.writeUInt32LE(masked(crc32c(message)), 12 + message.length);
  return record;
}

// Field numbers as in the .proto files.
function eventMessage({ wallTime, step = 0, fileVersion, start = false, scalars = [] }: Event): Buffer {
  return Buffer.concat([
    double(1, wallTime),
    ...(step === 0 ? [] : [integer(2, step)]), // proto3 leaves zeros out
    ...(fileVersion === undefined ? [] : [bytes(3, Buffer.from(fileVersion))]),
    ...(scalars.length === 0 ? [] : [bytes(5, Buffer.concat(scalars.map((scalar) => bytes(1, summaryValue(scalar)))))]),
    ...(start ? [bytes(7, integer(1, 1))] : []), // SessionLog { status: START }
  ]);
}

function summaryValue([tag, value]: Scalar): Buffer {
  return Buffer.concat([bytes(1, Buffer.from(tag)), float(2, value)]);
}

const wireType = { varint: 0, fixed64: 1, lengthDelimited: 2, fixed32: 5 } as const;

function key(field: number, type: keyof typeof wireType): Buffer {
  return varint(field * 8 + wireType[type]);
}

/** @param value a non-negative safe integer */
function varint(value: number): Buffer {
  const digits: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) digits.push((rest % 0x80) + 0x80);
  return Buffer.from([...digits, rest]);
}

function integer(field: number, value: number): Buffer {
  return Buffer.concat([key(field, "varint"), varint(value)]);
}

function double(field: number, value: number): Buffer {
  const fixed = Buffer.alloc(8);
  fixed.writeDoubleLE(value);
  return Buffer.concat([key(field, "fixed64"), fixed]);
}

function float(field: number, value: number): Buffer {
  const fixed = Buffer.alloc(4);
  fixed.writeFloatLE(value);
  return Buffer.concat([key(field, "fixed32"), fixed]);
}

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([key(field, "lengthDelimited"), varint(value.length), value]);
}

/** Castagnoli's CRC (RFC 3720, B.4), reflected, by a table of bytes. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

/** TFRecord turns checksums by 15 bits and adds a constant, so that a checksum over checksums is no weak one. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/**
 * @file A run over a file of records, whatever is made of them: the model and the engine, lines in, a result for each out, and
 * what there is to count.
 */
import { fstatSync } from "node:fs";
import type { EngineStats } from "../engine/threads/device-stats.ts";
import { type Line, readLines } from "../files/json-lines.ts";
import { type LocateOptions, locateBase, locateModel } from "../hub/locate.ts";
import { RewardEngine } from "../reward/engine.ts";
import type { Emit } from "../reward/lines-in-order.ts";
import { unlessAborted } from "../tasks/in-order.ts";
import { embeddedModel, sayUntrained } from "./embedded-model.ts";
import type { EngineChoice } from "./engine-flags.ts";
import { bytesOf } from "./input-bytes.ts";
import type { Progress } from "./progress.ts";

export interface RecordTask extends EngineChoice {
  /** A file descriptor; 0 is standard input. */
  readonly input: number;
}

/** Reads the lines and emits a result for each, in order. */
export type RecordWork<Result> = (
  lines: AsyncIterable<Line>,
  engine: RewardEngine,
  emit: Emit<Result>,
) => Promise<void>;

export interface RecordParts<Result> {
  /** Called while the threads load the model: the checks of records need a tenth of a second to be loaded. */
  readonly load: () => Promise<RecordWork<Result>>;
  /** Called once the model is there -> what writes the results. */
  readonly begin: (engine: RewardEngine) => (result: Result) => Promise<void>;
}

export interface RunStats {
  readonly records: number;
  readonly failed: number;
  readonly sequences: number;
  readonly tokens: number;
  readonly seconds: { readonly load: number; readonly media: number; readonly compute: number };
  readonly caches: EngineStats["caches"];
  readonly devices: EngineStats["devices"];
}

/** Rejects with the signal's reason when it aborts; a result that is being written is written to its end before. */
export async function runRecords<Result extends object>(
  task: RecordTask,
  { load, begin }: RecordParts<Result>,
  progress: Progress,
  signal: AbortSignal,
): Promise<RunStats> {
  const start = performance.now();
  const { input, model, base: named, revision, ...options } = task;
  const locating: Omit<LocateOptions, "revision"> = {
    embedded: embeddedModel,
    signal,
    onProgress: (step) => {
      if (step.kind === "notice") progress.say(step.message);
      else progress.download(step.done, step.total);
    },
  };
  const folder = await locateModel(model, { ...locating, revision });
  const base = await locateBase(folder, named, locating);
  const place = { folder, ...(base !== undefined && { base }) };
  const [opened, work] = await Promise.all([
    unlessAborted(RewardEngine.open({ ...options, ...place }), signal),
    load(),
  ]);
  await using engine = opened;
  for (const note of engine.info.notes) progress.say(note);
  if (engine.info.untrained) progress.say(sayUntrained);
  const loaded = (performance.now() - start) / 1000;
  progress.begin();

  const { size } = fstatSync(input); // 0 when unknown, as for a pipe
  const counts = { records: 0, failed: 0 };
  const write = begin(engine);
  await work(readLines(bytesOf(input)), engine, async (result, endByte) => {
    await write(result);
    counts.records++;
    if ("error" in result) counts.failed++;
    progress.update({ ...counts, share: size > 0 ? endByte / size : undefined });
  });
  progress.end({ ...counts, share: 1 });
  const { sequences, tokens, mediaSeconds, computeSeconds, caches, devices } = engine.stats;
  const seconds = { load: loaded, media: mediaSeconds, compute: computeSeconds };
  return { ...counts, sequences, tokens, seconds, caches, devices };
}

/** The text of `--stats`. */
export function statsText({ seconds, caches, devices, ...counts }: RunStats): string {
  const peak = process.resourceUsage().maxRSS / 1024; // KiB to MiB
  const rounded = (value: number) => Number(value.toFixed(3));
  const times = Object.entries({ ...seconds, total: performance.now() / 1000 });
  const stats = {
    ...counts,
    seconds: Object.fromEntries(times.map(([name, value]) => [name, rounded(value)])),
    peak_rss_mb: Number(peak.toFixed(1)),
    caches,
    devices: devices.map(({ device, sequences, tokens, computeSeconds }) => ({
      device,
      sequences,
      tokens,
      seconds: rounded(computeSeconds),
    })),
  };
  return `${JSON.stringify(stats, null, 2)}\n`;
}

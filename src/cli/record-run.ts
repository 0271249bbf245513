/**
 * @file A run over a file of records, whatever is made of them: the model and the engine, lines in, a result for each out, and
 * what there is to count.
 */
import { fstatSync } from "node:fs";
import type { EngineStats } from "../engine/threads/device-stats.ts";
import { linesOf } from "../files/containers/lines.ts";
import type { Line } from "../files/json-lines.ts";
import { locateModel } from "../hub/locate.ts";
import { RewardEngine } from "../reward/engine.ts";
import type { Emit } from "../reward/lines-in-order.ts";
import { unlessAborted } from "../tasks/in-order.ts";
import { embeddedModel, sayUntrained } from "./embedded-model.ts";
import type { EngineChoice } from "./engine-flags.ts";
import { inputOf } from "./input-bytes.ts";
import type { Progress } from "./progress.ts";

export interface RecordTask extends EngineChoice {
  /** A file descriptor; 0 is standard input. */
  readonly input: number;
}

/** Reads the lines and emits a result for each, in order -> the format of the records, where one could be read. */
export type RecordWork<Result> = (
  lines: AsyncIterable<Line>,
  engine: RewardEngine,
  emit: Emit<Result>,
) => Promise<string | undefined>;

export interface RecordParts<Result> {
  /** Called while the threads load the model: the checks of records need a tenth of a second to be loaded. */
  readonly load: () => Promise<RecordWork<Result>>;
  /** Called once the model is there -> what writes the results. */
  readonly begin: (engine: RewardEngine) => (result: Result) => Promise<void>;
}

export interface RunStats {
  /** What the records are written as; undefined where none could be read. */
  readonly format: string | undefined;
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
  const { input, model, revision, ...options } = task;
  const folder = await locateModel(model, {
    embedded: embeddedModel,
    revision,
    signal,
    onProgress: (step) => {
      if (step.kind === "notice") progress.say(step.message);
      else progress.download(step.done, step.total);
    },
  });
  const [opened, work] = await Promise.all([unlessAborted(RewardEngine.open({ ...options, folder }), signal), load()]);
  await using engine = opened;
  if (engine.info.untrained) progress.say(sayUntrained);
  const loaded = (performance.now() - start) / 1000;
  progress.begin();

  const { size } = fstatSync(input); // 0 when unknown, as for a pipe
  const counts = { records: 0, failed: 0 };
  let share = size > 0 ? 0 : undefined;
  // A record may take minutes.
  const watch = setInterval(() => progress.update({ ...counts, share, inside: engine.stats.sequencesInside }), 200);
  const write = begin(engine);
  let format: string | undefined;
  try {
    format = await work(linesOf(inputOf(input)), engine, async (result, endByte) => {
      await write(result);
      counts.records++;
      if ("error" in result) counts.failed++;
      if (size > 0) share = endByte / size;
      progress.update({ ...counts, share, inside: 0 });
    });
  } finally {
    clearInterval(watch);
  }
  progress.end({ ...counts, share: 1, inside: 0 });
  const { sequences, tokens, mediaSeconds, computeSeconds, caches, devices } = engine.stats;
  const seconds = { load: loaded, media: mediaSeconds, compute: computeSeconds };
  return { format, ...counts, sequences, tokens, seconds, caches, devices };
}

/** The text of `--stats`. */
export function statsText({ format, seconds, caches, devices, ...counts }: RunStats): string {
  const peak = process.resourceUsage().maxRSS / 1024; // KiB to MiB
  const rounded = (value: number) => Number(value.toFixed(3));
  const times = Object.entries({ ...seconds, total: performance.now() / 1000 });
  const stats = {
    format: format ?? null,
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

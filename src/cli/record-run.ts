/**
 * @file A run over a file of records, whatever is made of them: the model and the engine, lines in, a result for each out, and
 * what there is to count.
 */
import type { EngineStats } from "../engine/threads/device-stats.ts";
import type { Line } from "../files/json-lines.ts";
import { locateBase, locateModel } from "../hub/locate.ts";
import { RewardEngine } from "../reward/engine.ts";
import type { Emit } from "../reward/lines-in-order.ts";
import { unlessAborted } from "../tasks/in-order.ts";
import { modelLookup, sayUntrained } from "./embedded-model.ts";
import type { EngineChoice } from "./engine-flags.ts";
import { linesIn } from "./input-lines.ts";
import type { RunInput } from "./inputs.ts";
import type { Progress } from "./progress.ts";

export interface RecordTask extends EngineChoice {
  readonly inputs: readonly RunInput[];
}

/**
 * Reads the lines of one input and emits a result for each, in order -> the format of its records, where one could be read. Relative
 * paths in them start at `baseFolder`.
 */
export type RecordWork<Result> = (
  lines: AsyncIterable<Line>,
  baseFolder: string,
  engine: RewardEngine,
  emit: Emit<Result>,
) => Promise<string | undefined>;

export interface RecordParts<Result> {
  /** Called while the threads load the model: the checks of records need a tenth of a second to be loaded. */
  readonly load: () => Promise<RecordWork<Result>>;
  /** Called once the model is there -> what writes the results; `file` is the input's where there are several. */
  readonly begin: (engine: RewardEngine) => (result: Result, file: string | undefined) => Promise<void>;
}

export interface RunStats {
  /** What the records of the inputs are written as; none where none could be read. */
  readonly formats: readonly string[];
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
  const { inputs, model, base: named, revision, ...options } = task;
  const locating = modelLookup(progress, signal);
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

  const counts = { records: 0, failed: 0 };
  let share: number | undefined;
  // A record may take minutes.
  const watch = setInterval(() => progress.update({ ...counts, share, inside: engine.stats.sequencesInside }), 200);
  const write = begin(engine);
  const formats = new Set<string>();
  const sizesKnown = inputs.every(({ size }) => size > 0);
  const allBytes = inputs.reduce((sum, { size }) => sum + size, 0);
  let bytesBefore = 0; // of the inputs that are done
  try {
    for (const input of inputs) {
      const format = await work(linesIn(input), input.baseFolder, engine, async (result, endByte) => {
        await write(result, input.file);
        counts.records++;
        if ("error" in result) counts.failed++;
        if (sizesKnown) share = (bytesBefore + endByte) / allBytes;
        progress.update({ ...counts, share, inside: 0 });
      });
      if (format !== undefined) formats.add(format);
      bytesBefore += input.size;
    }
  } finally {
    clearInterval(watch);
  }
  progress.end({ ...counts, share: 1, inside: 0 });
  const { sequences, tokens, mediaSeconds, computeSeconds, caches, devices } = engine.stats;
  const seconds = { load: loaded, media: mediaSeconds, compute: computeSeconds };
  return { formats: [...formats], ...counts, sequences, tokens, seconds, caches, devices };
}

/** The text of `--stats`. */
export function statsText({ formats, seconds, caches, devices, ...counts }: RunStats): string {
  const peak = process.resourceUsage().maxRSS / 1024; // KiB to MiB
  const rounded = (value: number) => Number(value.toFixed(3));
  const times = Object.entries({ ...seconds, total: performance.now() / 1000 });
  const stats = {
    format: formats.length > 1 ? formats : (formats[0] ?? null),
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

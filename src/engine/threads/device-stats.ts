/**
 * @file The engine's counts: kept for each device, and summed.
 */

import { type CacheStats, sumOfStats } from "../pass/byte-cache.ts";
import type { PassCaches } from "../pass/pass.ts";

/** What one device has done since the engine was opened. */
export interface DeviceStats {
  /** cpu or cuda:N. */
  readonly device: string;
  /** Answers scored. */
  readonly sequences: number;
  /** Answers that are scored already, of groups that are not done: only those of very many answers, or long ones. */
  readonly sequencesInside: number;
  /** Of all sequences, prompts counted for each answer. */
  readonly tokens: number;
  /** Through the model, whole or in part. */
  readonly passes: number;
  readonly computeSeconds: number;
  /** Hits and sizes. */
  readonly caches: PassCaches;
}

/** What waits for an answer, now. */
export interface QueueStats {
  readonly length: number;
  /** How long ago the oldest was submitted; 0 where there is none. */
  readonly oldestSeconds: number;
  /** What their texts and data URLs take, about. */
  readonly bytes: number;
}

/** Counts since the engine was opened. */
export interface EngineStats {
  /** Answers scored. */
  readonly sequences: number;
  /** Answers that are scored already, of groups that are not done: only those of very many answers, or long ones. */
  readonly sequencesInside: number;
  /** Of all sequences, prompts counted for each answer. */
  readonly tokens: number;
  readonly passes: number;
  /** Pictures and videos that were prepared. */
  readonly visuals: number;
  /** Groups that are not answered. */
  readonly queue: QueueStats;
  /** In which something was read, decoded, resized or tokenized, beside the arithmetic. */
  readonly mediaSeconds: number;
  /** Of all devices, added up. */
  readonly computeSeconds: number;
  /** Bytes of pictures and videos that were held at most between their decoding and their answers. */
  readonly mediaBytesPeak: number;
  /** Hits and sizes: of the devices' caches, added up, and of prepared pictures. */
  readonly caches: PassCaches & { readonly pictures: CacheStats };
  /** The same for each device, in the order in which they were named. */
  readonly devices: readonly DeviceStats[];
}

export const nothingYet = (device: string): DeviceStats => ({
  device,
  sequences: 0,
  sequencesInside: 0,
  tokens: 0,
  passes: 0,
  computeSeconds: 0,
  caches: { features: sumOfStats([]), prefixes: sumOfStats([]) },
});

export function engineStats(
  devices: readonly DeviceStats[],
  media: { readonly seconds: number; readonly bytesPeak: number; readonly visuals: number },
  queue: QueueStats,
  pictures: readonly CacheStats[],
): EngineStats {
  const total = (count: (stats: DeviceStats) => number): number =>
    devices.reduce((sum, stats) => sum + count(stats), 0);
  return {
    sequences: total(({ sequences }) => sequences),
    sequencesInside: total(({ sequencesInside }) => sequencesInside),
    tokens: total(({ tokens }) => tokens),
    passes: total(({ passes }) => passes),
    visuals: media.visuals,
    queue,
    mediaSeconds: media.seconds,
    mediaBytesPeak: media.bytesPeak,
    computeSeconds: total(({ computeSeconds }) => computeSeconds),
    caches: { pictures: sumOfStats(pictures), ...sumOfCaches(devices.map(({ caches }) => caches)) },
    devices,
  };
}

function sumOfCaches(all: readonly PassCaches[]): PassCaches {
  const stored = all.map((caches) => caches.stored).filter((stats) => stats !== undefined);
  const total = (count: (stats: (typeof stored)[number]) => number): number =>
    stored.reduce((sum, stats) => sum + count(stats), 0);
  return {
    features: sumOfStats(all.map(({ features }) => features)),
    prefixes: sumOfStats(all.map(({ prefixes }) => prefixes)),
    ...(stored.length > 0 && {
      stored: {
        hits: total(({ hits }) => hits),
        misses: total(({ misses }) => misses),
        damaged: total(({ damaged }) => damaged),
        failures: total(({ failures }) => failures),
      },
    }),
  };
}

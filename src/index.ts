/**
 * @file The library: score with a reward model from TypeScript or JavaScript. docs/library.md introduces it.
 */

export { type ErrorCode, errorCodes, VlRewardError } from "./errors.ts";
export type {
  ImagePart,
  Message,
  Part,
  PixelLimits,
  Role,
  TextPart,
  VideoPart,
} from "./models/conversation.ts";
export type { DeviceStats, EngineStats } from "./reward/device-stats.ts";
export { type EngineOptions, RewardEngine, readAhead } from "./reward/engine.ts";
export type { Group, GroupResult } from "./reward/group.ts";
export type { ScorerOptions } from "./reward/scorer.ts";
export type { EngineInfo } from "./reward/thread-messages.ts";
export { beginTrace, endTrace, type TraceTarget } from "./reward/trace-file.ts";

/**
 * @file The library: score with a reward model from TypeScript or JavaScript. docs/library.md introduces it.
 */

export type {
  ImagePart,
  Message,
  Part,
  PixelLimits,
  Role,
  TextPart,
  VideoPart,
} from "./conversation.ts";
export type { AnswerGroup, Group, ReadResult, Urgency, WrittenGroup } from "./engine/group.ts";
export type { ComputeOptions, ComputeOptions as ScorerOptions } from "./engine/pass/pass.ts";
export type { ReadAnswer, ReadAnswers, ReadRequest } from "./engine/read/reader.ts";
export type { DeviceStats, EngineStats, QueueStats } from "./engine/threads/device-stats.ts";
export type { EngineInfo } from "./engine/threads/messages.ts";
export { beginTrace, endTrace, type TraceTarget } from "./engine/threads/trace-file.ts";
export { type ErrorCode, errorCodes, VlRewardError } from "./errors.ts";
export { localPolicy, type MediaLimits, type MediaPolicy, serverPolicy } from "./media/policy.ts";
export { type CallOptions, type EngineOptions, type GroupResult, RewardEngine, readAhead } from "./reward/engine.ts";
export { setup } from "./torch/setup.ts";

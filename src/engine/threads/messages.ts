/**
 * @file What the engine's threads say to each other, and how an error crosses from one to another.
 *
 *     engine --group--> prepare thread --prompt--> a device's compute thread --answers--> engine
 *            <--opened--               (its size is known: nothing is decoded before there is room)
 *            ---room-->
 *
 * Every group that is sent to a prepare thread is answered once: by that thread if it could not be prepared, else by the
 * compute thread. So the engine knows at any time what is under way.
 */

import type { MessagePort } from "node:worker_threads";
import type { Message, PixelLimits } from "../../conversation.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import type { GroupPrompt } from "../../models/prompt.ts";
import type { WireError } from "../../tasks/wire-error.ts";
import type { Group, ReadResult, Urgency } from "../group.ts";
import type { CacheStats } from "../pass/byte-cache.ts";
import type { ComputeOptions, PassCaches } from "../pass/pass.ts";
import type { ReadRequest } from "../read/reader.ts";
import type { TraceTarget } from "./trace-file.ts";

/** What a prepare thread is started with. */
export interface PrepareTask {
  readonly folder: string;
  /** Of an adapter, the folder of the model that it belongs to. */
  readonly base?: string | undefined;
  readonly pixelLimits: PixelLimits;
  readonly media: MediaPolicy;
  /** What the thread may keep of pictures that may come again. */
  readonly pictureBytes: number;
  readonly trace: TraceTarget | undefined;
  /** To the compute threads, one for each device. */
  readonly prompts: readonly MessagePort[];
  /** Of DeviceLoad: what the devices still have to do. */
  readonly load: SharedArrayBuffer;
}

export type ToPrepare =
  | { readonly kind: "prepare"; readonly id: number; readonly group: Group; readonly ask: Ask }
  /** There is room for what the group has asked for. */
  | { readonly kind: "room"; readonly id: number }
  | { readonly kind: "forget"; readonly id: number }
  | ({ readonly kind: "tokens"; readonly id: number } & TokenQuestion);

/** What is to be known of tokens: those of a text or a conversation, or what ids stand for. */
export type TokenQuestion =
  | { readonly of: string | readonly Message[]; readonly spellings: boolean }
  | { readonly ids: readonly number[] };

/** Of a text, ids, each picture and video one placeholder, and their spellings where they are wanted; of ids, their text. */
export type TokenAnswer =
  | { readonly ids: readonly number[]; readonly spellings?: readonly string[] }
  | { readonly text: string };

/** What is wanted of a group, and how urgently. */
export interface Ask extends Urgency {
  readonly read: readonly ReadRequest[];
}

export type FromPrepare =
  | { readonly kind: "ready"; readonly maxTokens: number; readonly readsMedia: boolean }
  | { readonly kind: "broken"; readonly error: WireError } // and nothing more will come
  | { readonly kind: "tokens"; readonly id: number; readonly answer: TokenAnswer | { readonly error: WireError } }
  /** Its pictures and videos will take so many bytes; they are decoded once there is room. */
  | { readonly kind: "opened"; readonly id: number; readonly bytes: number }
  | {
      readonly kind: "prepared";
      readonly id: number;
      readonly bytes: number;
      readonly hasMedia: boolean;
      /** Pictures and videos. */
      readonly visuals: number;
      readonly seconds: number;
      readonly pictures: CacheStats; // of this thread, so far
    }
  | {
      readonly kind: "failed";
      readonly id: number;
      readonly error: WireError;
      readonly hasMedia: boolean;
      readonly seconds: number;
    };

/** From a prepare thread to the compute thread. */
export type Prompt =
  | { readonly kind: "prompt"; readonly id: number; readonly prompt: GroupPrompt; readonly ask: Ask }
  | { readonly kind: "forget"; readonly id: number };

/** What the compute thread is started with. */
export interface ComputeTask {
  readonly options: ComputeOptions;
  readonly trace: TraceTarget | undefined;
  /** One from each prepare thread. */
  readonly prompts: readonly MessagePort[];
  /** Which of the engine's devices it computes on, and of DeviceLoad, what they still have to do. */
  readonly device: number;
  readonly load: SharedArrayBuffer;
}

/** What a compute thread says of itself once it is there. */
export interface DeviceInfo {
  readonly device: string;
  readonly dtype: EngineInfo["dtype"];
  readonly parameters: number;
  readonly hiddenSize: number;
  readonly untrained: boolean;
  readonly label: string;
  readonly notes: readonly string[];
}

export interface EngineInfo {
  /** Where the arithmetic runs: cpu or cuda:N, in the order in which they were named. */
  readonly devices: readonly string[];
  /** What it runs in. */
  readonly dtype: "float32" | "bfloat16";
  /** How many numbers the model's weights are, head included. */
  readonly parameters: number;
  /** How many numbers a hidden state is, and so an embedding. */
  readonly hiddenSize: number;
  /** The checkpoint says of itself that its weights are random. */
  readonly untrained: boolean;
  /** What the checkpoint calls its one label, `id2label["0"]`; LABEL_0, as transformers does, where it says nothing. */
  readonly label: string;
  /** What a person should know of how the checkpoint was read: files that were passed over, an adapter that was merged. */
  readonly notes: readonly string[];
  /** Of the longest conversation. */
  readonly maxTokens: number;
  /** Whether it sees pictures and videos. */
  readonly readsMedia: boolean;
}

export type FromCompute =
  | { readonly kind: "ready"; readonly info: DeviceInfo }
  | { readonly kind: "broken"; readonly error: WireError }
  | { readonly kind: "forgotten"; readonly id: number }
  /** A pass of these groups; those before it go on when it is over. */
  | { readonly kind: "began"; readonly ids: readonly number[] }
  | {
      readonly kind: "pass";
      /** Of the groups that are done. */
      readonly results: readonly PassResult[];
      /** Answers that are read, of groups that are not done. */
      readonly inside: number;
      readonly seconds: number;
      readonly caches: PassCaches; // so far
    };

export type PassResult =
  | ({ readonly id: number } & Omit<Exclude<ReadResult, { readonly error: unknown }>, "seconds">)
  | { readonly id: number; readonly error: WireError };

/**
 * @file What a dialect is: the wire format of one kind of client, as two pure functions. The first reads a body into groups, the
 * second writes their rewards as the answer that this client expects. Everything else (models, media, queue, errors) is the server's.
 */

import type { ImagePart, Message, VideoPart } from "../../conversation.ts";

/** A prompt and its answers, each an assistant turn. */
export interface ConversationTask {
  readonly prompt: readonly Message[];
  readonly answers: readonly Message[];
}

/** A conversation that somebody has rendered already, scored token for token, its reward read at the last token. */
export interface WrittenTask {
  /** Token ids; or a text whose special tokens are recognised. A run of <|image_pad|> or <|video_pad|> is the place of one picture or video. */
  readonly written: string | readonly number[];
  /** They fill the places in order; another number of them is an error of the engine's. */
  readonly media: readonly (ImagePart | VideoPart)[];
}

export type Task = ConversationTask | WrittenTask;

/** What the server found for a task. Every number is the shortest decimal of its float32. */
export interface Scored {
  /** One for each answer; of a written task, one. */
  readonly scores: readonly number[];
  /** Of all its conversations, the prompt counted for each answer. */
  readonly tokens: number;
}

/** What an answer says beside the rewards. */
export interface Answering {
  /** The served model's name. */
  readonly model: string;
  /** Unique, hexadecimal, to be put behind a prefix such as "classify-". */
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  /** Since the request came; 0 where absent. */
  readonly seconds?: number;
  /** What the checkpoint calls its one label (`id2label["0"]`); "LABEL_0" where absent. */
  readonly label?: string;
}

/** An answer that is not JSON. */
export interface RawAnswer {
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly bytes: Uint8Array;
}

export interface DialectRequest {
  readonly tasks: readonly Task[];
  /** As the client named it; one served model answers to any name. */
  readonly model?: string | undefined;
  /** Higher is more urgent; a client whose lower numbers come first has its sign changed. */
  readonly priority?: number | undefined;
  /** Of vLLM's clients: what was computed for requests of another salt must not answer this one faster. */
  readonly cacheSalt?: string | undefined;
  /**
   * @param results one for each task, in order; never called when a task failed
   * @throws VlRewardError `invalid_request` where the number of tokens shows that a limit of the body would have cut a conversation
   */
  readonly answer: (results: readonly Scored[], answering: Answering) => unknown;
}

/** A JSON object as it came; null keys are kept. A body that is none is refused before a dialect sees it. */
export type Body = Readonly<Record<string, unknown>>;

export interface Dialect {
  /** As in docs/dialects.md, such as "openrlhf". */
  readonly name: string;
  /** For people: whose clients send this. */
  readonly title: string;
  readonly paths: readonly string[];
  readonly methods?: readonly ("POST" | "PUT")[];
  /** How errors are written for its clients; "openai" where absent. */
  readonly errors?: "openai" | "text-embeddings-inference" | "sglang" | "llamafactory";
  /** In one line, what a body must hold: for the message to a body that fits none of a path's dialects. */
  readonly shape: string;
  /** A whole body, small, without pictures: the document of the API shows it, and a test sends it to every path. */
  readonly example: Body;
  /** Whether a body on one of these paths is this dialect's. Those of a path are asked in the order of dialects.ts. */
  detects(body: Body, path: string): boolean;
  /** @throws VlRewardError `invalid_request` (or the code of a record's fault), its message naming the key and the index */
  read(body: Body, path: string): DialectRequest;
}

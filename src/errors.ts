/**
 * @file The one error type of the package and the table of its stable codes.
 *
 * A code is part of the contract: it appears in result lines (`{"error": {"code", "message"}}`), in HTTP responses and
 * in docs/cli.md, and never changes its meaning. A message says what was found, what was expected and what to do, and stays short
 * whatever was found.
 */

/** Every code, with what it means. Codes of one record come first, then those that end a whole run. */
export const errorCodes = {
  // A record or its media: the record gets an error line, the others are still scored.
  invalid_json: "the line is not readable JSON",
  invalid_record: "the record does not have the shape of a record",
  invalid_roles: "the turns do not follow each other as a conversation does",
  no_assistant_turn: "nothing to score: the last turn is not the assistant's",
  empty_candidates: "the record has no responses to compare",
  media_not_found: "a picture or video does not exist at its path",
  media_forbidden: "a picture or video is not allowed where it lies, or there are too many of them",
  media_fetch_failed: "a picture or video could not be fetched from its address",
  media_too_large: "a picture or video exceeds a size limit",
  media_damaged: "a picture or video could not be decoded",
  media_unknown_format: "the bytes are of no supported picture or video format",
  media_unsupported: "the model reads no pictures or videos",
  media_aspect_ratio: "a picture is more than 200 times as long as it is wide",
  media_no_frames: "a video has no frame in the part that was asked for",
  media_options: "the pixel, frame or time limits of a part contradict each other",
  video_unavailable: "the video decoder, an optional dependency, is not installed",
  sequence_too_long: "the conversation has more tokens than the model can take",
  token_unknown: "a text holds a token that the tokenizer knows and the model's embedding has no row for",
  score_not_finite: "the model computed no finite number: NaN in its weights, or an overflow in this precision",
  deadline_exceeded: "the group was not computed before its deadline",
  invalid_request: "a request to the server does not have the shape of its dialect",
  overloaded: "as much waits as memory allows; the same request may be sent again in a while",
  request_too_large: "a request to the server has a larger body than it takes",
  internal_error: "a defect of vl-reward; please report it",
  // A run: nothing can be scored.
  usage: "a command line flag or argument is wrong",
  input_unreadable: "the input cannot be read",
  output_unwritable: "the output cannot be written",
  model_not_found: "no checkpoint at that folder or hub id",
  checkpoint_mismatch: "tensors are missing, unexpected or misshapen",
  checkpoint_damaged: "a file of the checkpoint is truncated or unreadable",
  checkpoint_unsupported: "the checkpoint uses a feature that is not supported",
  config_invalid: "a configuration file, of a checkpoint or of a training, is not as expected",
  download_failed: "a file could not be downloaded from the hub",
  download_corrupt: "a downloaded file does not have the published checksum",
  offline: "a file is not in the cache and the network is switched off",
  training_diverged: "the loss or a gradient of a training step is no finite number",
  resume_mismatch: "the saved state belongs to another configuration or to other data",
  distributed_failed: "processes that train together have lost each other, or one of them has failed",
  native_unavailable: "the native addon or libtorch is missing; setup has to run",
  device_unavailable: "the device that was asked for is not there",
  engine_closed: "the scoring engine was closed before it was done",
  // Programming errors inside the tensor library.
  operator_failed: "libtorch refused the arguments of an operator",
  use_after_dispose: "a tensor was used after it was freed",
  scope_misuse: "a tensor scope was used in a way that would leak or free too early",
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** Of a message, in characters: room for every problem of a configuration, none for a picture that was taken for a path. */
const longestMessage = 4000;

/** The package's error. `message` is one or two sentences for a person; `code` is for programs. */
export class VlRewardError extends Error {
  override readonly name = "VlRewardError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(withoutMiddle(message, longestMessage), options);
    this.code = code;
  }
}

const longestQuote = 120;

/** A user's string in quotes, escaped and cut to a length that fits a message. */
export function quote(text: string): string {
  const quoted = JSON.stringify(text.slice(0, longestQuote));
  if (text.length <= longestQuote && quoted.length <= longestQuote) return quoted;
  return `${quoted.slice(0, longestQuote - 4)}..."`;
}

/** A text, or its beginning and its end, where a path has its name and a message its advice. */
export function withoutMiddle(text: string, most: number): string {
  if (text.length <= most) return text;
  const end = Math.floor(most / 4);
  return `${text.slice(0, most - end)} [... ${text.length - most} characters ...] ${text.slice(-end)}`;
}

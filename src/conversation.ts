/**
 * @file What a reward model reads: turns of text, pictures and video. The wire spelling (snake_case, OpenAI's
 * `image_url`) is read by src/data; from here on everything is in these types.
 */

/** Which of them may follow which, and whether there is a place for the last two, is the chat template's to say. */
export type Role = "system" | "user" | "assistant" | "tool" | "developer";

export interface TextPart {
  readonly type: "text";
  readonly text: string;
}

/** How large a picture or frame may become, in pixels; what is absent follows the checkpoint or the command line. */
export interface PixelLimits {
  readonly minPixels?: number;
  readonly maxPixels?: number;
}

export interface ImagePart extends PixelLimits {
  readonly type: "image";
  /** A path (relative to the record's file), a file URL, a data URL or an http(s) address. */
  readonly image: string;
  /** An exact size, rounded to the patch grid; both or neither. Wins over the pixel limits. */
  readonly resizedHeight?: number;
  readonly resizedWidth?: number;
}

export interface VideoPart extends PixelLimits {
  readonly type: "video";
  /** A video file, named as a picture is, or the addresses of its frames in order. */
  readonly video: string | readonly string[];
  /** Frames a second to sample (default 2), or an exact number of frames; not both. */
  readonly fps?: number;
  readonly nframes?: number;
  readonly minFrames?: number;
  readonly maxFrames?: number;
  /** The part of the file to read, in seconds. */
  readonly videoStart?: number;
  readonly videoEnd?: number;
  /** A budget for all frames together, in pixels. */
  readonly totalPixels?: number;
  readonly resizedHeight?: number;
  readonly resizedWidth?: number;
}

export type Part = TextPart | ImagePart | VideoPart;

export interface Message {
  readonly role: Role;
  readonly content: string | readonly Part[];
}

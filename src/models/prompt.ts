/**
 * @file What a family's processor makes of conversations, ready for any model: plain data, which crosses threads. Who reads it
 * needs to know no family.
 */

/** The size of a picture or video in patches. */
export interface Grid {
  readonly t: number;
  readonly h: number;
  readonly w: number;
}

/** A picture or video, ready for a vision tower. */
export interface Visual {
  /** Names what is seen: a hash of the pixels, of what becomes of them and of a video's pace. Equal keys have equal features. */
  readonly key: string;
  /** How many tokens of the conversation stand for it. */
  readonly tokens: number;
  /** How many patches the tower reads: what seeing it costs. */
  readonly patches: number;
  /** Seconds between two temporal patches; 0 for a picture. */
  readonly secondsPerGrid: number;
  readonly pixels: Uint8Array; // [frames, height, width, 3]
  /** What the 256 levels of each channel become. */
  readonly levels: Float32Array; // [3, 256]
  readonly grid: Grid;
}

/** A stretch of a conversation's tokens. */
export interface Span {
  readonly ids: Int32Array; // [tokens], a placeholder for each visual token
  readonly positions: Int32Array; // [3, tokens]: time, height, width; all three count up where positions have one dimension
  readonly visualPlaces: Int32Array; // [visual tokens], their indices in ids
  /** Which of the group's visuals stand there, in order. */
  readonly visuals: readonly number[];
}

/** An answer's tokens. */
export interface Branch extends Span {
  /** Where its tokens stand in its text, if that was asked for: one for each of ids, undefined before the answer. */
  readonly places?: readonly (TextPlace | undefined)[];
}

/** A token's place in the text of its answer: what `text.slice` of these code points gives. Empty for what is no text: what the template writes behind it, pictures. */
export interface TextPlace {
  readonly text: string;
  readonly start: number; // code points
  readonly end: number;
}

/** Where an answer's own tokens begin and end in its branch, by the chat template. */
export interface AnswerTokens {
  /** Tokens before the answer, such as the role and its line's end. */
  readonly header: number;
  /** The control token that ends a turn; the answer's last one. */
  readonly end: number;
}

/** Several answers to one prompt. */
export interface GroupPrompt {
  /**
   * All tokens up to the one that opens the answer, that one included: where it ends depends on nothing in the answers, so a
   * score cannot depend on which answers it was computed beside.
   */
  readonly prefix: Span;
  /** What follows it, for each answer; never empty. */
  readonly branches: readonly Branch[];
  readonly visuals: readonly Visual[];
  readonly answerTokens: AnswerTokens;
}

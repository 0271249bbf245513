/**
 * @file From conversations to what a model reads: the part that all families share. A chat template and a tokenizer make
 * token ids, pictures and videos take the places that the template gives them, and several answers to one prompt are cut
 * where the answers begin. What a picture becomes is the family's own (`VisualReader`).
 */
import { setImmediate } from "node:timers/promises";
import type { ImagePart, Message, PixelLimits, VideoPart } from "../conversation.ts";
import { VlRewardError } from "../errors.ts";
import { assertMediaAllowed, localPolicy } from "../media/policy.ts";
import { isRemote, type OpenOptions } from "../media/source.ts";
import { ChatTemplate } from "../tokenizer/chat-template.ts";
import {
  type AnswerFrame,
  answerFrame,
  type Encoder,
  type MediaPlace,
  type Placeholders,
  type Stretch,
  type TokenizedConversation,
  tokenizeConversation,
} from "../tokenizer/conversation.ts";
import { placesInAnswer } from "../tokenizer/places.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { traced } from "../torch/index.ts";
import type { AnswerTokens, Branch, GroupPrompt, Span, TextPlace, Visual } from "./prompt.ts";

export type VisualPart = ImagePart | VideoPart;

/** Pictures that were prepared before, by a key of this room's making. One processor's are no other's. */
export interface PictureCache {
  get(key: string): Visual | undefined;
  set(key: string, picture: Visual, bytes: number): void;
}

export interface ProcessorOptions {
  /** For pictures that name none themselves. */
  readonly limits: PixelLimits;
  /**
   * Keeps pictures, so that one that comes again is neither decoded nor resized; their pixels are not to be given away.
   */
  readonly known?: PictureCache;
}

/** What a picture or video will be, by its header. */
export interface VisualSize {
  readonly tokens: number;
  /** That it takes at most, decoded and resized. */
  readonly bytes: number;
}

/** A picture or video whose header has been read. */
export interface OpenedVisual {
  readonly size: VisualSize;
  /** Decodes and resizes it. Rejects with the codes of the media room. */
  read(): Promise<Visual>;
  /** Lets go of the file, read or not. */
  close(): Promise<void>;
}

/** What a family makes of pictures and videos. */
export interface VisualReader {
  /** Rejects with the codes of the media room and `media_options`. */
  open(part: VisualPart, options: OpenOptions): Promise<OpenedVisual>;
  /** What the template writes where pictures and videos stand. */
  readonly placeholders: Placeholders;
  /** The token that stands for each of its tokens. */
  placeholder(kind: VisualPart["type"]): number;
  /** -> [3, tokens] of a conversation in which visuals stand, by their first tokens */
  positions(tokens: number, visuals: readonly { readonly start: number; readonly visual: Visual }[]): Int32Array;
}

export interface PrepareOptions extends OpenOptions {
  /**
   * Asked once, before anything is decoded, for the bytes that pictures and videos will take together; resolves when there
   * is room for them. Not asked for text alone.
   */
  readonly room?: (bytes: number) => Promise<void>;
  /** Whether the places of the answers' tokens in their texts are wanted. */
  readonly places?: boolean;
}

/** Milliseconds of tokenizing after which others have their turn, and the end of what nobody wants is heard. */
const longestTurn = 50;

/** Tokens of several answers to one prompt. */
export interface Lengths {
  /** Of each conversation, the prompt's included; in the order of the answers. */
  readonly conversations: readonly number[];
  /** Of the prompt once and of what follows it in each conversation: what a pass that shares the prompt computes. */
  readonly shared: number;
}

/** Visual tokens of parts; `undefined` for what lies behind an address, which is not fetched. */
export type VisualTokens = ReadonlyMap<VisualPart, number | undefined>;

/** Of a family: its sizes and what reads pictures; no reader where it reads text alone. */
export interface ProcessorFamily {
  readonly maxPositions: number;
  /** Rows of the embedding. */
  readonly vocabulary: number;
  readonly visuals?: VisualReader;
  /** What people call it. */
  readonly name: string;
}

export class Processor {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #frame: AnswerFrame;
  readonly answerTokens: AnswerTokens;
  readonly #family: ProcessorFamily;
  /** Added tokens that texts may hold and the embedding has no row for. */
  readonly #strangers: ReadonlyMap<number, string>;

  private constructor(tokenizer: Tokenizer, template: ChatTemplate, family: ProcessorFamily) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#frame = answerFrame(tokenizer, template);
    this.answerTokens = { header: tokenizer.encodeText(this.#frame.header).length, end: this.#frame.end };
    this.#family = family;
    this.#strangers = tokenizer.beyond(family.vocabulary);
  }

  /** Reads tokenizer and chat template of a checkpoint folder. Rejects with `config_invalid`. */
  static async load(folder: string, family: ProcessorFamily): Promise<Processor> {
    const textOnly = family.visuals === undefined;
    const [tokenizer, template] = await Promise.all([Tokenizer.load(folder), ChatTemplate.load(folder, { textOnly })]);
    assertEmbedded(tokenizer, family.vocabulary, folder);
    return new Processor(tokenizer, template, family);
  }

  /**
   * Looks at the header of each picture and video once: what cannot be prepared is mostly found here. Rejects as `prepare`
   * does for those whose beginning is damaged.
   */
  async measure(messages: readonly Message[], options: OpenOptions): Promise<VisualTokens> {
    const tokens = new Map<VisualPart, number | undefined>();
    const parts = mediaParts(messages);
    assertMediaAllowed(parts, options.policy ?? localPolicy);
    for (const part of parts) {
      if (sourcesOf(part).some(isRemote)) {
        tokens.set(part, undefined);
        continue;
      }
      const opened = await this.#readerOf(part).open(part, options);
      tokens.set(part, opened.size.tokens);
      await opened.close();
    }
    return tokens;
  }

  /** Counts the tokens of the conversations that `prefix` makes with each of `answers`; unknown visuals count nothing. */
  count(prefix: readonly Message[], answers: readonly Message[], visuals: VisualTokens): Lengths {
    const tokenizer = this.#remembering();
    const visualsOf = (messages: readonly Message[]): number =>
      mediaParts(messages).reduce((sum, part) => sum + (visuals.get(part) ?? 1) - 1, 0); // one place is in the text
    const inPrefix = visualsOf(prefix);
    let shared = 0;
    const conversations = answers.map((answer) => {
      const { ids } = this.#tokenize([...prefix, answer], tokenizer);
      const total = ids.length + inPrefix + visualsOf([answer]);
      const branch = ids.length - this.#cut(ids) + visualsOf([answer]);
      shared += shared === 0 ? total : branch;
      return total;
    });
    return { conversations, shared };
  }

  /**
   * Prepares the conversations that `prefix` makes with each of `branches`. Each picture is read once. Rejects with the
   * codes of the media room, `media_options`, `media_unsupported` or `sequence_too_long`.
   */
  async prepare(
    prefix: readonly Message[],
    branches: readonly Message[],
    options: PrepareOptions,
  ): Promise<GroupPrompt> {
    const parts = [...new Set(mediaParts([...prefix, ...branches]))];
    assertMediaAllowed(parts, options.policy ?? localPolicy);
    const usedIn = branches.map((branch) => mediaParts([...prefix, branch]).map((part) => parts.indexOf(part)));
    const visuals = await this.#read(parts, usedIn, options);
    const tokenizer = this.#remembering();
    let prompt: Span | undefined;
    const cutBranches: Branch[] = [];
    let breath = performance.now();
    for (const [index, branch] of branches.entries()) {
      if (performance.now() - breath > longestTurn) {
        await setImmediate();
        options.signal?.throwIfAborted();
        breath = performance.now();
      }
      const used = usedIn[index] ?? [];
      const whole = this.#assemble([...prefix, branch], used, visuals, tokenizer, options.places ? branch : undefined);
      const cut = this.#cut(whole.ids);
      prompt ??= slice(whole, 0, cut, visuals);
      assertSamePrompt(whole.ids, cut, prompt.ids);
      // A conversation is let go of once it is cut: with thousands of answers their copies of the prompt would fill the memory.
      const own = slice(whole, cut, whole.ids.length, visuals);
      cutBranches.push(whole.places ? { ...own, places: whole.places.slice(cut) } : own);
    }
    if (!prompt) throw new VlRewardError("empty_candidates", "There are no answers to score; expected at least one.");
    return { prefix: prompt, branches: cutBranches, visuals, answerTokens: this.answerTokens };
  }

  /**
   * Prepares a conversation that somebody has rendered already. Its answer begins where a conversation's does, behind the last
   * control token that opens a turn, so that both have the same bits. Rejects as `prepare` does; with `invalid_record` where it has
   * other places for pictures and videos than there are, and `token_unknown` for ids that are no tokens.
   *
   * @param written ids, or a text whose control tokens are recognised
   */
  async prepareWritten(
    written: string | readonly number[],
    media: readonly VisualPart[],
    options: PrepareOptions,
  ): Promise<GroupPrompt> {
    assertMediaAllowed(media, options.policy ?? localPolicy);
    const given = typeof written === "string" ? this.#encodeWritten(written) : this.#knownIds(written);
    const { ids, places } = this.#onePlaceEach(given);
    if (ids.length === 0) throw new VlRewardError("invalid_record", "the text is empty; expected a conversation");
    assertPlaces(places, media);
    const used = media.map((_, index) => index);
    const visuals = await this.#read(media, [used], options);
    const whole = this.#expand({ ids, stretches: [], media: places }, used, visuals);
    const cut = this.#cut(whole.ids);
    const end = whole.ids.length;
    const from = cut === end ? end - 1 : cut; // of an open turn, the token that opens it is its answer
    return {
      prefix: slice(whole, 0, from, visuals),
      branches: [slice(whole, from, end, visuals)],
      visuals,
      answerTokens: this.answerTokens,
    };
  }

  /** The ids of a text whose control tokens are recognised, or of a conversation, each picture and video one placeholder. */
  tokenize(given: string | readonly Message[]): number[] {
    return typeof given === "string" ? this.#encodeWritten(given) : this.#tokenize(given, this.#remembering()).ids;
  }

  /** Each token as the vocabulary spells it. Throws `token_unknown`. */
  spellings(ids: readonly number[]): string[] {
    return this.#knownIds(ids).map((id) => this.#tokenizer.spelling(id) ?? "");
  }

  /** Throws `token_unknown`. */
  decode(ids: readonly number[]): string {
    return this.#tokenizer.decode(this.#knownIds(ids));
  }

  get maxTokens(): number {
    return this.#family.maxPositions;
  }

  get readsMedia(): boolean {
    return this.#family.visuals !== undefined;
  }

  /** @throws VlRewardError `token_unknown` */
  #encodeWritten(text: string): number[] {
    const ids = this.#tokenizer.encodeWritten(text);
    if (this.#strangers.size > 0) this.#assertKnown(ids);
    return ids;
  }

  /** @throws VlRewardError `token_unknown` */
  #knownIds(ids: readonly number[]): number[] {
    const { vocabulary } = this.#family;
    const wrong = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabulary));
    if (wrong === undefined) return [...ids];
    throw new VlRewardError(
      "token_unknown",
      `${wrong} is no token of the model; expected ids from 0 to ${vocabulary - 1}`,
    );
  }

  /** Of each run of placeholders one: the processors of policies write one for each visual token, templates write one. */
  #onePlaceEach(given: readonly number[]): { ids: number[]; places: MediaPlace[] } {
    const reader = this.#family.visuals;
    const kinds = new Map(
      (["image", "video"] as const).flatMap((kind) => (reader ? [[reader.placeholder(kind), kind]] : [])),
    );
    const ids: number[] = [];
    const places: MediaPlace[] = [];
    for (const [at, id] of given.entries()) {
      const kind = kinds.get(id);
      if (kind !== undefined && given[at - 1] === id) continue;
      if (kind !== undefined) places.push({ position: ids.length, kind });
      ids.push(id);
    }
    return { ids, places };
  }

  #tokenize(messages: readonly Message[], tokenizer: Encoder): TokenizedConversation {
    return tokenizeConversation(messages, tokenizer, this.#template, this.#family.visuals?.placeholders);
  }

  /** Where the answer's branch begins among these ids. */
  #cut(ids: readonly number[] | Int32Array): number {
    return ids.lastIndexOf(this.#frame.opener) + 1;
  }

  /** Encodes a stretch that several conversations have once. */
  #remembering(): Encoder {
    const encoded = new Map<string, number[]>();
    const { controlTokens, controlRules, startToken } = this.#tokenizer;
    return {
      controlTokens,
      controlRules,
      startToken,
      encodeText: (text) => {
        const ids = encoded.get(text) ?? this.#tokenizer.encodeText(text);
        encoded.set(text, ids);
        if (this.#strangers.size > 0) this.#assertKnown(ids);
        return ids;
      },
    };
  }

  #assertKnown(ids: readonly number[]): void {
    const stranger = ids.find((id) => this.#strangers.has(id));
    if (stranger === undefined) return;
    throw new VlRewardError(
      "token_unknown",
      `a text holds ${JSON.stringify(this.#strangers.get(stranger))}, which the tokenizer makes token ${stranger}; the model's ` +
        `embedding has ${this.#family.vocabulary} rows. Leave it out, or take the tokenizer that the model was trained with`,
    );
  }

  #readerOf(part: VisualPart): VisualReader {
    const { visuals, name } = this.#family;
    if (visuals) return visuals;
    const what = part.type === "image" ? "a picture" : "a video";
    throw new VlRewardError(
      "media_unsupported",
      `the conversation has ${what}, and ${name} reads text alone; use a model with a vision tower, or leave it out`,
    );
  }

  /**
   * Opens all, asks for room for all of them, then decodes one after the other.
   *
   * @param conversations the indices of the parts in each
   */
  async #read(
    parts: readonly VisualPart[],
    conversations: readonly (readonly number[])[],
    options: PrepareOptions,
  ): Promise<Visual[]> {
    const opened: OpenedVisual[] = [];
    try {
      for (const part of parts) opened.push(await this.#readerOf(part).open(part, options));
      for (const used of conversations) {
        // Before they take their room: text comes to it later.
        this.#assertFits(used.reduce((sum, index) => sum + (opened[index]?.size.tokens ?? 0), 0));
      }
      if (opened.length > 0) await options.room?.(opened.reduce((sum, { size }) => sum + size.bytes, 0));
      const visuals: Visual[] = [];
      for (const one of opened) visuals.push(await traced("media", () => one.read()));
      return visuals;
    } finally {
      for (const one of opened) await one.close();
    }
  }

  /**
   * A whole conversation.
   *
   * @param used the indices of its visuals
   * @param placed the answer, where the places of its tokens are wanted
   */
  #assemble(
    messages: readonly Message[],
    used: readonly number[],
    visuals: readonly Visual[],
    tokenizer: Encoder,
    placed: Message | undefined,
  ): Branch {
    const tokenized = traced("tokenizer", () => this.#tokenize(messages, tokenizer));
    const own = placed && this.#places(placed, tokenized.ids, tokenized.stretches, tokenized.media);
    return this.#expand(tokenized, used, visuals, own);
  }

  /**
   * Every placeholder as many times as its visual has tokens.
   *
   * @param used the indices of its visuals, by their places
   * @param own for each of the ids, its place in the answer's text, where that is wanted
   */
  #expand(
    { ids, media }: TokenizedConversation,
    used: readonly number[],
    visuals: readonly Visual[],
    own?: readonly (TextPlace | undefined)[],
  ): Branch {
    const reader = this.#family.visuals;
    const expanded: number[] = [];
    const standing: { start: number; visual: Visual }[] = [];
    const places: number[] = [];
    const lengths = new Map<number, number>(); // of visuals, by their places in ids
    let copied = 0;
    for (const [index, { position, kind }] of media.entries()) {
      const visual = visuals[used[index] ?? -1];
      if (!visual || !reader) continue; // tokenizeConversation has compared the template's places with the parts
      for (; copied < position; copied++) expanded.push(ids[copied] ?? 0);
      standing.push({ start: expanded.length, visual });
      lengths.set(position, visual.tokens);
      for (let count = visual.tokens; count > 0; count--) {
        places.push(expanded.length);
        expanded.push(reader.placeholder(kind));
      }
      copied = position + 1; // the template's single placeholder stands for all of them
    }
    for (; copied < ids.length; copied++) expanded.push(ids[copied] ?? 0);
    this.#assertFits(expanded.length);
    // A picture's one place in `ids` is that of all its tokens.
    const standsFor = ids.flatMap((_, place) => new Array<number>(lengths.get(place) ?? 1).fill(place));
    return {
      ...(own && { places: standsFor.map((place) => own[place]) }),
      ids: Int32Array.from(expanded),
      positions: reader?.positions(expanded.length, standing) ?? counted(expanded.length),
      visualPlaces: Int32Array.from(places),
      visuals: used,
    };
  }

  /** -> for each of a conversation's ids, its place in the text of the answer, the last turn; undefined before the answer */
  #places(
    answer: Message,
    ids: readonly number[],
    stretches: readonly Stretch[],
    media: readonly MediaPlace[],
  ): (TextPlace | undefined)[] {
    const text = textOf(answer);
    const cut = this.#cut(ids);
    const closing = ids.lastIndexOf(this.#frame.end);
    const places = new Array<TextPlace | undefined>(ids.length).fill(undefined);
    let left = text; // an answer of several parts is laid along its stretches from the last one on
    const own = stretches.filter(({ position }) => position >= cut && position < closing);
    for (const { position, text: stretch } of own.reverse()) {
      const found = placesInAnswer(this.#tokenizer, stretch, left);
      for (const [offset, place] of found.entries()) places[position + offset] = place;
      left = Array.from(left)
        .slice(0, found[0]?.start ?? 0)
        .join("");
    }
    const pictures = media.flatMap(({ position }) => (position >= cut ? [position] : []));
    const first = Math.min(
      closing,
      ...pictures,
      ...places.flatMap((place, at) => (place && place.text !== "" ? [at] : [])),
    );
    places.fill(undefined, 0, first);
    // What is no text, a picture or a control token, stands behind the text before it.
    for (let at = first; at < closing; at++) places[at] ??= behind(places[at - 1]?.end ?? 0);
    return places.fill(behind(Array.from(text).length), closing);
  }

  #assertFits(tokens: number): void {
    const { maxPositions } = this.#family;
    if (tokens <= maxPositions) return;
    throw new VlRewardError(
      "sequence_too_long",
      `The conversation has ${tokens} tokens, the model takes ${maxPositions}. Shorten the text, or give pictures a ` +
        "smaller max_pixels and videos fewer frames.",
    );
  }
}

/** Throws `config_invalid` where a conversation does not begin with the prompt of the first one. */
function assertSamePrompt(ids: Int32Array, cut: number, prompt: Int32Array): void {
  if (cut === prompt.length && prompt.every((id, place) => id === ids[place])) return;
  throw new VlRewardError(
    "config_invalid",
    "The chat template writes the prompt differently for different answers, which a shared prompt cannot have.",
  );
}

/** Throws `invalid_record`: a place without a picture would be scored blind. */
function assertPlaces(places: readonly MediaPlace[], media: readonly VisualPart[]): void {
  const [found, expected] = [media.map(({ type }) => type), places.map(({ kind }) => kind)];
  if (found.join() === expected.join()) return;
  const list = (kinds: readonly string[]) => (kinds.length === 0 ? "none" : `${kinds.length} (${kinds.join(", ")})`);
  throw new VlRewardError(
    "invalid_record",
    `the text has places for ${list(expected)} of pictures and videos, and there came ${list(found)}; send one for each place, in order`,
  );
}

const behind = (end: number): TextPlace => ({ text: "", start: end, end });

const textOf = ({ content }: Message): string =>
  typeof content === "string" ? content : content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("");

/** Positions of text: they count up. */
const counted = (tokens: number): Int32Array => Int32Array.from({ length: 3 * tokens }, (_, index) => index % tokens);

/** The tokens of a conversation from `start` to `end`. No visual lies across either. */
function slice(whole: Span, start: number, end: number, visuals: readonly Visual[]): Span {
  const tokens = whole.ids.length;
  const axes = [0, 1, 2].map((axis) => whole.positions.subarray(axis * tokens + start, axis * tokens + end));
  const positions = new Int32Array(3 * (end - start));
  for (const [axis, values] of axes.entries()) positions.set(values, axis * (end - start));
  const inside = whole.visualPlaces.filter((place) => place >= start && place < end).map((place) => place - start);
  let next = 0; // in visualPlaces
  const used = whole.visuals.filter((index) => {
    const place = whole.visualPlaces[next] ?? 0;
    next += visuals[index]?.tokens ?? 0;
    return place >= start && place < end;
  });
  return { ids: whole.ids.slice(start, end), positions, visualPlaces: inside, visuals: used };
}

function mediaParts(messages: readonly Message[]): VisualPart[] {
  return messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.filter((part) => part.type !== "text"),
  );
}

const sourcesOf = (part: VisualPart): readonly string[] => (part.type === "image" ? [part.image] : [part.video].flat());

/**
 * Added tokens that only a text of its own would hold may lack a row: such a text is refused (`token_unknown`). Tokens that any
 * text becomes, or that the template writes, may not.
 */
function assertEmbedded(tokenizer: Tokenizer, rows: number, folder: string): void {
  const needed = [...tokenizer.beyond(rows)].filter(([, token]) => !tokenizer.isPlainAdded(token));
  const [first] = needed;
  if (!first) return;
  const [id, token] = first;
  throw new VlRewardError(
    "checkpoint_mismatch",
    `${folder}: tokenizer.json has ${needed.length} tokens beyond the ${rows} rows of the model's embedding, such as ` +
      `${JSON.stringify(token)} (${id}). The tokenizer is of another model, or the embedding was not enlarged with it.`,
  );
}

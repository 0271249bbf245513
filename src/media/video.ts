/**
 * @file Frames of a video file through FFmpeg, by index and in order of presentation.
 *
 * The reference reads video with decord: `frameCount`, `averageFps` and `frames` are its `len(reader)`,
 * `get_avg_fps()` and `get_batch()`. As there, a frame is counted for every packet of the best video stream, pixels
 * become RGB in swscale with bilinear chroma, a stored rotation by a right angle is applied and the pixel aspect ratio
 * is not. In mp4, mov, webm and mkv a frame is found by its time. The times in other containers are missing or do not
 * tell the order, so that frames are counted from the start as they come out of the decoder.
 *
 * FFmpeg comes inside the optional dependency node-av and is loaded at the first video file. Only the demuxers named in
 * video-container.ts are ever opened: playlists, and whatever else could read a second file or the network, are not probed.
 */
import { open } from "node:fs/promises";
import type { CodecContext, FormatContext, Frame, IOContext, Packet, Stream } from "node-av/lib";
import { VlRewardError } from "../errors.ts";
import type { RgbImage } from "./image.ts";
import { mediaName } from "./name.ts";
import { localPolicy, type MediaLimits } from "./policy.ts";
import type { MediaSource } from "./source.ts";
import { type Container, containerNames, containerOf, cutIn, headLength, type Readable } from "./video-container.ts";
import { type Ffmpeg, ioOverBytes, loadFfmpeg, RgbConverter, turnOf } from "./video-ffmpeg.ts";
import { countedFrames, type FrameIndex, presentationTimes } from "./video-index.ts";

export interface VideoReader extends AsyncDisposable {
  readonly frameCount: number;
  /** Frames a second, the stream's own average. */
  readonly averageFps: number;
  /** Size of the frames, after rotation. */
  readonly width: number;
  readonly height: number;
  /**
   * The frames at these indices, in this order; an index may be named twice. One frame is in memory at a time, and
   * what lies between two indices is decoded only where a frame depends on it.
   */
  frames(indices: readonly number[]): AsyncGenerator<RgbImage, void, undefined>;
  close(): Promise<void>;
}

/**
 * `name` is what error messages call the video. The caller closes the reader.
 *
 * @param limits a video of larger frames, or one that takes longer, is refused
 */
export async function openVideo(
  source: MediaSource,
  name: string,
  limits: Pick<MediaLimits, "maxPixels" | "decodeSeconds"> = localPolicy.limits,
): Promise<VideoReader> {
  const shownName = mediaName(name);
  const container = await probe(source, shownName);
  const reader = new FfmpegReader(await loadFfmpeg(), shownName, source, container);
  try {
    await reader.open(limits);
    return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/** The container of a source, of which the beginning is looked at and, where it states one, the length. */
async function probe(source: MediaSource, name: string): Promise<Container> {
  return withReadable(source, name, async (file) => {
    const head = await file.read(0, headLength);
    const container = containerOf(head);
    if (container === undefined) {
      throw new VlRewardError("media_unknown_format", `${name}: not a video file of a known kind (${containerNames})`);
    }
    const cut = await cutIn(file, container.demuxer);
    if (cut !== undefined) throw new VlRewardError("media_damaged", `${name}: ${cut}`);
    return container;
  });
}

async function withReadable<T>(source: MediaSource, name: string, use: (file: Readable) => Promise<T>): Promise<T> {
  if (source.kind === "bytes") {
    const bytes = Buffer.from(source.bytes.buffer, source.bytes.byteOffset, source.bytes.byteLength);
    return use({ length: bytes.length, read: async (at, length) => bytes.subarray(at, at + length) });
  }
  const file = await open(source.path).catch((cause: unknown) => {
    throw new VlRewardError("media_not_found", `${name} cannot be opened`, { cause });
  });
  try {
    const read = async (at: number, length: number): Promise<Buffer> => {
      const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(length), position: at });
      return buffer.subarray(0, bytesRead);
    };
    return await use({ length: (await file.stat()).size, read });
  } finally {
    await file.close();
  }
}

class FfmpegReader implements VideoReader {
  frameCount = 0;
  averageFps = 0;
  width = 0;
  height = 0;

  readonly #ffmpeg: Ffmpeg;
  readonly #name: string;
  readonly #source: MediaSource;
  readonly #container: Container;
  readonly #packet: Packet;
  readonly #decoded: [Frame, Frame]; // the frame just received and the one before
  #format: FormatContext | undefined;
  #io: IOContext | undefined;
  #stream: Stream | undefined;
  #decoder: CodecContext | undefined;
  #converter: RgbConverter | undefined;
  #index: FrameIndex = { times: [], shown: [], keyframes: [] };
  /**
   * Where the decoder stands: the time of the frame in `#decoded[0]`, or its number where frames are counted; undefined when
   * it has to seek first.
   */
  #time: number | undefined;
  #closed = false;
  #patience = Number.POSITIVE_INFINITY; // seconds, of what was begun last
  #begun = 0;

  constructor(ffmpeg: Ffmpeg, name: string, source: MediaSource, container: Container) {
    this.#ffmpeg = ffmpeg;
    this.#name = name;
    this.#source = source;
    this.#container = container;
    this.#packet = new ffmpeg.Packet();
    this.#packet.alloc();
    this.#decoded = [new ffmpeg.Frame(), new ffmpeg.Frame()];
    for (const frame of this.#decoded) frame.alloc();
  }

  async open({ maxPixels, decodeSeconds }: Pick<MediaLimits, "maxPixels" | "decodeSeconds">): Promise<void> {
    this.#patience = decodeSeconds;
    this.#begun = performance.now();
    const stream = await this.#openStream();
    const { width, height } = stream.codecpar;
    if (width <= 0 || height <= 0) {
      throw this.#damaged("it is truncated or damaged, the size of its frames is unknown");
    }
    if (width * height > maxPixels) {
      throw this.#error("media_too_large", `its frames are ${width}x${height}, at most ${maxPixels} pixels are read`);
    }
    const turn = turnOf(this.#ffmpeg, stream);
    [this.width, this.height] = turn.sideways ? [height, width] : [width, height];
    const { transparent } = this.#container;
    this.#converter = new RgbConverter(this.#ffmpeg, this.#name, turn, this.width, this.height, transparent);

    const { num, den } = stream.avgFrameRate;
    const { index, seconds } = await this.#readIndex(stream);
    this.#index = index;
    this.frameCount = index.times.length;
    if (index.shown.length === 0) throw this.#error("media_no_frames", "its video stream is empty");
    this.averageFps = num > 0 && den > 0 ? num / den : this.frameCount / seconds;
    if (!(this.averageFps > 0 && Number.isFinite(this.averageFps))) throw this.#damaged("its frame rate is unknown");
  }

  async *frames(indices: readonly number[]): AsyncGenerator<RgbImage, void, undefined> {
    let last: { readonly time: number; readonly image: RgbImage } | undefined;
    const missing = indices.find((index) => !(Number.isInteger(index) && index >= 0 && index < this.frameCount));
    if (missing !== undefined) throw new RangeError(`${this.#name}: no frame ${missing} among ${this.frameCount}`);
    this.#begun = performance.now();
    for (const time of presentationTimes(indices, this.#index)) {
      if (last?.time !== time) last = { time, image: await this.#frameAt(time) };
      yield last.image;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#converter?.free();
    for (const frame of this.#decoded) frame.free();
    this.#packet.free();
    await this.#closeInput();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Opens the file from its beginning: its best video stream, and a decoder for it. */
  async #openStream(): Promise<Stream> {
    const { AVMEDIA_TYPE_VIDEO, AVDISCARD_ALL, AVFMT_FLAG_CUSTOM_IO } = this.#ffmpeg.constants;
    const input = this.#ffmpeg.InputFormat.findInputFormat(this.#container.demuxer);
    const options = this.#ffmpeg.Dictionary.fromObject({ protocol_whitelist: "file" });
    const format = new this.#ffmpeg.FormatContext();
    this.#format = format;
    format.allocContext();
    if (this.#source.kind === "bytes") {
      this.#io = ioOverBytes(this.#ffmpeg, this.#source.bytes);
      format.pb = this.#io;
      format.setFlags(AVFMT_FLAG_CUSTOM_IO);
    }
    const url = this.#source.kind === "bytes" ? "" : `file:${this.#source.path}`;
    this.#check(await format.openInput(url, input, options), "its header cannot be read");
    this.#check(await format.findStreamInfo(), "its streams cannot be read");
    const best = format.findBestStream(AVMEDIA_TYPE_VIDEO);
    const stream = format.streams[best];
    if (best < 0 || stream === undefined) throw this.#error("media_no_frames", "it has no video stream");
    for (const other of format.streams) if (other.index !== best) other.discard = AVDISCARD_ALL;
    this.#stream = stream;
    await this.#openDecoder(stream);
    return stream;
  }

  async #closeInput(): Promise<void> {
    this.#decoder?.freeContext();
    await this.#format?.closeInput();
    this.#io?.freeContext();
    this.#decoder = undefined;
    this.#format = undefined;
    this.#io = undefined;
    this.#stream = undefined;
  }

  async #openDecoder(stream: Stream): Promise<void> {
    const codec = this.#ffmpeg.Codec.findDecoder(stream.codecpar.codecId);
    if (codec === null) {
      throw this.#error("media_unknown_format", `no decoder for its codec (${stream.codecpar.codecTagString})`);
    }
    const decoder = new this.#ffmpeg.CodecContext();
    this.#decoder = decoder;
    decoder.allocContext3(codec);
    this.#check(decoder.parametersToContext(stream.codecpar), "its codec parameters are not valid");
    decoder.pktTimebase = stream.timeBase;
    decoder.threadCount = 0; // as many as there are cores
    this.#check(await decoder.open2(codec), "its decoder does not open");
  }

  /** One pass over the packets, without decoding. `seconds` are those that the packets say they are shown for. */
  async #readIndex(stream: Stream): Promise<{ index: FrameIndex; seconds: number }> {
    const { AV_PKT_FLAG_CORRUPT, AV_PKT_FLAG_DISCARD } = this.#ffmpeg.constants;
    const times: number[] = [];
    const shown: number[] = [];
    const keyframes: number[] = [];
    const searchable = this.#container.searchable;
    let units = 0;
    while (await this.#readPacket()) {
      if (this.#packet.hasFlags(AV_PKT_FLAG_CORRUPT)) {
        throw this.#damaged(`it is truncated or damaged at frame ${times.length}`);
      }
      const time = searchable ? this.#packetTime() : times.length;
      units += Number(this.#packet.duration);
      times.push(time);
      if (!this.#packet.hasFlags(AV_PKT_FLAG_DISCARD)) shown.push(time);
      if (this.#packet.isKeyframe) keyframes.push(time);
    }
    for (const list of [times, shown, keyframes]) list.sort((a, b) => a - b);
    const index = searchable ? { times, shown, keyframes } : countedFrames(times.length);
    return { index, seconds: (units * stream.timeBase.num) / stream.timeBase.den };
  }

  /** The next packet of the stream into `#packet`; false at the end of the file. */
  async #readPacket(): Promise<boolean> {
    const { format, stream } = this.#opened();
    if (performance.now() - this.#begun > 1000 * this.#patience) {
      throw this.#error(
        "media_too_large",
        `it takes more than ${this.#patience} s to decode, the media policy's limit`,
      );
    }
    do {
      this.#packet.unref();
      const code = await format.readFrame(this.#packet);
      if (code === this.#ffmpeg.constants.AVERROR_EOF) return false;
      this.#check(code, "it ends before its last frame");
    } while (this.#packet.streamIndex !== stream.index);
    return true;
  }

  #packetTime(): number {
    const { pts, dts } = this.#packet;
    const time = pts === this.#ffmpeg.constants.AV_NOPTS_VALUE ? dts : pts;
    if (time === this.#ffmpeg.constants.AV_NOPTS_VALUE) throw this.#damaged("its frames have no times");
    return Number(time);
  }

  async #frameAt(time: number): Promise<RgbImage> {
    this.#opened();
    await this.#decodeUntil(time);
    if (this.#converter === undefined) throw this.#damaged("it has not been opened");
    const [frame] = this.#decoded;
    if (frame.decodeErrorFlags !== 0) throw this.#damaged("the data of a frame is broken");
    return await this.#converter.convert(frame);
  }

  /**
   * Decodes until `#decoded[0]` is the frame that is shown at time `wanted`. A packet that shows nothing (VP8's hidden
   * frames, what an edit list cuts away) stands for the next frame that is shown, at the end for the last one.
   */
  async #decodeUntil(wanted: number): Promise<void> {
    const { keyframes } = this.#index;
    let key = Math.max(
      0,
      keyframes.findLastIndex((time) => time <= wanted),
    );
    const from = keyframes[key] ?? Number.POSITIVE_INFINITY;
    if (this.#time === undefined || this.#time > wanted || this.#time < from) {
      // Where a stream recovers only gradually, the first frame may come out too late: start at an earlier keyframe.
      do {
        await (this.#container.searchable ? this.#seek(keyframes[key]) : this.#rewind());
        await this.#receive();
        key--;
      } while (key >= 0 && (this.#time === undefined || this.#time > wanted));
    }
    while (this.#time === undefined || this.#time < wanted) {
      if (!(await this.#receive())) break;
    }
    if (this.#time === undefined) throw this.#error("media_no_frames", "none of its frames can be decoded");
  }

  /** Places the demuxer at the keyframe of this time, or before it, and forgets what the decoder holds. */
  async #seek(keyframe: number | undefined): Promise<void> {
    if (keyframe === undefined) throw this.#damaged("it has no keyframe, decoding cannot begin");
    const { format, stream, decoder } = this.#opened();
    const code = await format.seekFrame(stream.index, BigInt(keyframe), this.#ffmpeg.constants.AVSEEK_FLAG_BACKWARD);
    this.#check(code, "it cannot be searched");
    decoder.flushBuffers();
    this.#time = undefined;
  }

  /** To before the first frame. Opening anew works in every container; searching does not. */
  async #rewind(): Promise<void> {
    await this.#closeInput();
    await this.#openStream();
    this.#time = undefined;
  }

  /** The next decoded frame into `#decoded[0]`, in order of presentation; false after the last. */
  async #receive(): Promise<boolean> {
    const { AVERROR_EOF, AVERROR_EAGAIN } = this.#ffmpeg.constants;
    const { decoder } = this.#opened();
    const [, spare] = this.#decoded;
    for (;;) {
      const code = await decoder.receiveFrame(spare);
      if (code === AVERROR_EOF) return false;
      if (code === AVERROR_EAGAIN) {
        if (await this.#readPacket()) {
          this.#check(await decoder.sendPacket(this.#packet), "a frame cannot be decoded");
        } else {
          this.#check(await decoder.sendPacket(null), "its last frames cannot be decoded");
        }
        continue;
      }
      this.#check(code, "a frame cannot be decoded");
      this.#decoded.reverse();
      if (!this.#container.searchable) {
        this.#time = (this.#time ?? -1) + 1;
        return true;
      }
      const { pts, bestEffortTimestamp } = spare;
      this.#time = Number(pts === this.#ffmpeg.constants.AV_NOPTS_VALUE ? bestEffortTimestamp : pts);
      return true;
    }
  }

  #opened(): { format: FormatContext; stream: Stream; decoder: CodecContext } {
    if (this.#closed || !this.#format || !this.#stream || !this.#decoder) {
      throw new VlRewardError("use_after_dispose", `${this.#name}: the video reader is closed`);
    }
    return { format: this.#format, stream: this.#stream, decoder: this.#decoder };
  }

  #check(code: number, what: string): void {
    if (code < 0) throw this.#damaged(`${what} (${this.#ffmpeg.FFmpegError.strerror(code)})`);
  }

  #damaged(what: string): VlRewardError {
    return this.#error("media_damaged", what);
  }

  #error(
    code: "media_damaged" | "media_no_frames" | "media_too_large" | "media_unknown_format",
    what: string,
  ): VlRewardError {
    return new VlRewardError(code, `${this.#name}: ${what}`);
  }
}

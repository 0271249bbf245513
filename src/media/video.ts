/**
 * @file Frames of a video file: mp4, mov, webm and mkv through FFmpeg, by index and in order of presentation.
 *
 * The reference reads video with decord: `frameCount`, `averageFps` and `frames` are its `len(reader)`,
 * `get_avg_fps()` and `get_batch()`. As there, a frame is counted for every packet of the best video stream, pixels
 * become RGB in swscale with bilinear chroma, a stored rotation by a right angle is applied and the pixel aspect ratio
 * is not.
 *
 * FFmpeg comes inside the optional dependency node-av and is loaded at the first video file. Only the two demuxers
 * named here are ever opened: playlists, and whatever else could read a second file or the network, are not probed.
 */
import { open } from "node:fs/promises";
import type { CodecContext, FormatContext, Frame, IOContext, Packet, Stream } from "node-av/lib";
import { VlRewardError } from "../errors.ts";
import type { RgbImage } from "./image.ts";
import { mediaName } from "./name.ts";
import { localPolicy } from "./policy.ts";
import type { MediaSource } from "./source.ts";
import {
  demuxerOf,
  type Ffmpeg,
  headLength,
  ioOverBytes,
  loadFfmpeg,
  matroskaLength,
  RgbConverter,
  rotationOf,
} from "./video-ffmpeg.ts";
import { type FrameIndex, presentationTimes } from "./video-index.ts";

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
 * @param maxPixels a video of larger frames is refused
 */
export async function openVideo(
  source: MediaSource,
  name: string,
  maxPixels = localPolicy.limits.maxPixels,
): Promise<VideoReader> {
  const shownName = mediaName(name);
  const demuxer = await probe(source, shownName);
  const reader = new FfmpegReader(await loadFfmpeg(), shownName);
  try {
    await reader.open(source, demuxer, maxPixels);
    return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/** The demuxer for a source, of which the beginning is looked at. */
async function probe(source: MediaSource, name: string): Promise<"mov" | "matroska"> {
  const { head, length } = await beginningOf(source, name);
  const demuxer = demuxerOf(head);
  if (demuxer === undefined) {
    throw new VlRewardError("media_unknown_format", `${name}: not a video file of a known kind (mp4, mov, webm, mkv)`);
  }
  const stated = demuxer === "matroska" ? matroskaLength(head) : undefined;
  if (stated !== undefined && stated > length) {
    throw new VlRewardError("media_damaged", `${name}: it is cut short, ${length} bytes of ${stated}`);
  }
  return demuxer;
}

async function beginningOf(source: MediaSource, name: string): Promise<{ head: Uint8Array; length: number }> {
  if (source.kind === "bytes") return { head: source.bytes.subarray(0, headLength), length: source.bytes.length };
  try {
    const file = await open(source.path);
    try {
      const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(headLength), position: 0 });
      return { head: buffer.subarray(0, bytesRead), length: (await file.stat()).size };
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new VlRewardError("media_not_found", `${name}: cannot read ${source.path}`, { cause });
  }
}

class FfmpegReader implements VideoReader {
  frameCount = 0;
  averageFps = 0;
  width = 0;
  height = 0;

  readonly #ffmpeg: Ffmpeg;
  readonly #name: string;
  readonly #format: FormatContext;
  readonly #packet: Packet;
  readonly #decoded: [Frame, Frame]; // the frame just received and the one before
  #io: IOContext | undefined;
  #stream: Stream | undefined;
  #decoder: CodecContext | undefined;
  #converter: RgbConverter | undefined;
  #index: FrameIndex = { times: [], shown: [], keyframes: [] };
  /** Where the decoder stands: the time of the frame in `#decoded[0]`; undefined when it has to seek first. */
  #time: number | undefined;
  #closed = false;

  constructor(ffmpeg: Ffmpeg, name: string) {
    this.#ffmpeg = ffmpeg;
    this.#name = name;
    this.#format = new ffmpeg.FormatContext();
    this.#packet = new ffmpeg.Packet();
    this.#packet.alloc();
    this.#decoded = [new ffmpeg.Frame(), new ffmpeg.Frame()];
    for (const frame of this.#decoded) frame.alloc();
  }

  async open(source: MediaSource, demuxer: string, maxPixels: number): Promise<void> {
    const { AVMEDIA_TYPE_VIDEO, AVDISCARD_ALL, AVFMT_FLAG_CUSTOM_IO } = this.#ffmpeg.constants;
    const input = this.#ffmpeg.InputFormat.findInputFormat(demuxer);
    const options = this.#ffmpeg.Dictionary.fromObject({ protocol_whitelist: "file" });
    this.#format.allocContext();
    if (source.kind === "bytes") {
      this.#io = ioOverBytes(this.#ffmpeg, source.bytes);
      this.#format.pb = this.#io;
      this.#format.setFlags(AVFMT_FLAG_CUSTOM_IO);
    }
    const url = source.kind === "bytes" ? "" : `file:${source.path}`;
    this.#check(await this.#format.openInput(url, input, options), "its header cannot be read");
    this.#check(await this.#format.findStreamInfo(), "its streams cannot be read");

    const best = this.#format.findBestStream(AVMEDIA_TYPE_VIDEO);
    const stream = this.#format.streams[best];
    if (best < 0 || stream === undefined) throw this.#error("media_no_frames", "it has no video stream");
    for (const other of this.#format.streams) if (other.index !== best) other.discard = AVDISCARD_ALL;
    const rotation = rotationOf(this.#ffmpeg, stream);
    const { width, height } = stream.codecpar;
    if (width <= 0 || height <= 0) throw this.#damaged("the size of its frames is unknown");
    if (width * height > maxPixels) {
      throw this.#error("media_too_large", `its frames are ${width}x${height}, at most ${maxPixels} pixels are read`);
    }
    [this.width, this.height] = rotation === 90 || rotation === 270 ? [height, width] : [width, height];
    this.#converter = new RgbConverter(this.#ffmpeg, this.#name, rotation, this.width, this.height);
    this.#stream = stream;
    await this.#openDecoder(stream);

    this.#index = await this.#readIndex(stream);
    this.frameCount = this.#index.times.length;
    this.averageFps = stream.avgFrameRate.num / stream.avgFrameRate.den;
    if (this.#index.shown.length === 0) throw this.#error("media_no_frames", "its video stream is empty");
    if (!(this.averageFps > 0 && Number.isFinite(this.averageFps))) throw this.#damaged("its frame rate is unknown");
  }

  async *frames(indices: readonly number[]): AsyncGenerator<RgbImage, void, undefined> {
    let last: { readonly time: number; readonly image: RgbImage } | undefined;
    const missing = indices.find((index) => !(Number.isInteger(index) && index >= 0 && index < this.frameCount));
    if (missing !== undefined) throw new RangeError(`${this.#name}: no frame ${missing} among ${this.frameCount}`);
    for (const time of presentationTimes(indices, this.#index)) {
      if (last?.time !== time) last = { time, image: await this.#frameAt(time) };
      yield last.image;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#converter?.free();
    this.#decoder?.freeContext();
    for (const frame of this.#decoded) frame.free();
    this.#packet.free();
    await this.#format.closeInput();
    this.#io?.freeContext();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
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

  /** One pass over the packets, without decoding. */
  async #readIndex(stream: Stream): Promise<FrameIndex> {
    const { AV_PKT_FLAG_CORRUPT, AV_PKT_FLAG_DISCARD } = this.#ffmpeg.constants;
    const times: number[] = [];
    const shown: number[] = [];
    const keyframes: number[] = [];
    while (await this.#readPacket(stream.index)) {
      if (this.#packet.hasFlags(AV_PKT_FLAG_CORRUPT)) {
        throw this.#damaged(`frame ${times.length} is cut short`);
      }
      const time = this.#packetTime();
      times.push(time);
      if (!this.#packet.hasFlags(AV_PKT_FLAG_DISCARD)) shown.push(time);
      if (this.#packet.isKeyframe) keyframes.push(time);
    }
    for (const list of [times, shown, keyframes]) list.sort((a, b) => a - b);
    return { times, shown, keyframes };
  }

  /** The next packet of the stream into `#packet`; false at the end of the file. */
  async #readPacket(streamIndex: number): Promise<boolean> {
    do {
      this.#packet.unref();
      const code = await this.#format.readFrame(this.#packet);
      if (code === this.#ffmpeg.constants.AVERROR_EOF) return false;
      this.#check(code, "it ends before its last frame");
    } while (this.#packet.streamIndex !== streamIndex);
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
        await this.#seek(keyframes[key]);
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
    const { stream, decoder } = this.#opened();
    const code = await this.#format.seekFrame(
      stream.index,
      BigInt(keyframe),
      this.#ffmpeg.constants.AVSEEK_FLAG_BACKWARD,
    );
    this.#check(code, "it cannot be searched");
    decoder.flushBuffers();
    this.#time = undefined;
  }

  /** The next decoded frame into `#decoded[0]`, in order of presentation; false after the last. */
  async #receive(): Promise<boolean> {
    const { AVERROR_EOF, AVERROR_EAGAIN } = this.#ffmpeg.constants;
    const { stream, decoder } = this.#opened();
    const [, spare] = this.#decoded;
    for (;;) {
      const code = await decoder.receiveFrame(spare);
      if (code === AVERROR_EOF) return false;
      if (code === AVERROR_EAGAIN) {
        if (await this.#readPacket(stream.index)) {
          this.#check(await decoder.sendPacket(this.#packet), "a frame cannot be decoded");
        } else {
          this.#check(await decoder.sendPacket(null), "its last frames cannot be decoded");
        }
        continue;
      }
      this.#check(code, "a frame cannot be decoded");
      this.#decoded.reverse();
      const { pts, bestEffortTimestamp } = spare;
      this.#time = Number(pts === this.#ffmpeg.constants.AV_NOPTS_VALUE ? bestEffortTimestamp : pts);
      return true;
    }
  }

  #opened(): { stream: Stream; decoder: CodecContext } {
    if (this.#closed || this.#stream === undefined || this.#decoder === undefined) {
      throw new VlRewardError("use_after_dispose", `${this.#name}: the video reader is closed`);
    }
    return { stream: this.#stream, decoder: this.#decoder };
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

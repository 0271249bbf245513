/**
 * @file What src/media/video.ts needs of FFmpeg beside the decoding itself: loading it, reading from memory, the stored
 * turn and the conversion to RGB.
 *
 * The conversion repeats the filter graph of decord 0.6.0 (dmlc/decord:src/video/ffmpeg), which runs on FFmpeg
 * 4.1, where the scaler's default was still bilinear: colour matrix and range are those of the frame, BT.601 and
 * limited range where it does not say. Where 4.1 had to interpolate rows of chroma (10 bits, odd heights) it took the
 * nearest one or the mean of two; chroma sited at the bottom comes nearest to that, and elsewhere changes nothing.
 */
import type { FilterContext, FilterGraph, Frame, IOContext, Stream } from "node-av/lib";
import { VlRewardError } from "../errors.ts";
import type { RgbImage } from "./image.ts";
import { toOpaque } from "./opaque.ts";

type Constants = typeof import("node-av/constants");
export type Ffmpeg = typeof import("node-av/lib") & { readonly constants: Constants };

let loading: Promise<Ffmpeg> | undefined;

/** Loads the addon at the first call. Errors: `video_unavailable`. */
export function loadFfmpeg(): Promise<Ffmpeg> {
  loading ??= Promise.all([import("node-av/lib"), import("node-av/constants")]).then(
    ([lib, constants]) => {
      lib.Log.setLevel(constants.AV_LOG_QUIET); // standard error is ours; failures come as return values
      return { ...lib, constants };
    },
    (cause: unknown) => {
      throw new VlRewardError(
        "video_unavailable",
        `video files need the optional package node-av, which could not be loaded on ${process.platform}-${process.arch}; install it with: npm install --ignore-scripts node-av`,
        { cause },
      );
    },
  );
  return loading;
}

/** How much FFmpeg asks for at a time. */
const readSize = 64 * 1024;

/** An input that reads from memory. The callbacks are called while an asynchronous call of FFmpeg waits. */
export function ioOverBytes(ffmpeg: Ffmpeg, bytes: Uint8Array): IOContext {
  const { AVSEEK_SIZE, AVSEEK_CUR, AVSEEK_END, AVERROR_EOF, AVERROR_EINVAL } = ffmpeg.constants;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let position = 0;
  const read = (size: number): Buffer | number => {
    if (position >= buffer.length) return AVERROR_EOF;
    const chunk = buffer.subarray(position, position + size);
    position += chunk.length;
    return chunk;
  };
  const seek = (offset: bigint, whence: number): number => {
    if (whence === AVSEEK_SIZE) return buffer.length;
    const base = whence === AVSEEK_CUR ? position : whence === AVSEEK_END ? buffer.length : 0;
    const target = base + Number(offset);
    if (target < 0) return AVERROR_EINVAL;
    position = target;
    return target;
  };
  const io = new ffmpeg.IOContext();
  io.allocContextWithCallbacks(readSize, 0, read, null, seek);
  return io;
}

/** How the frames of a stream become upright. */
export interface Turn {
  readonly filters: readonly Link[];
  /** Whether width and height change places. */
  readonly sideways: boolean;
}

/**
 * What undoes a stored matrix of quarter turns and mirrorings, as FFmpeg's own program does; angles in between are left as
 * they are. decord mirrors nothing, and takes a picture that is mirrored left to right for one that stands on its head.
 */
export function turnOf(ffmpeg: Ffmpeg, stream: Stream): Turn {
  const none: Turn = { filters: [], sideways: false };
  const matrix = stream.codecpar.getCodedSideData(ffmpeg.constants.AV_PKT_DATA_DISPLAYMATRIX);
  if (matrix === null || matrix.length < 36) return none;
  // 3x3, fixed point, row by row: [a b u; c d v; x y w]. The angle is that of the first row with its columns scaled.
  const [a, b, c, d] = [0, 4, 12, 16].map((offset) => matrix.readInt32LE(offset)) as [number, number, number, number];
  const angle = (Math.atan2(b / Math.hypot(b, d), a / Math.hypot(a, c)) * 180) / Math.PI;
  const flips: Link[] = [...(a < 0 ? ([["hflip", ""]] as const) : []), ...(d < 0 ? ([["vflip", ""]] as const) : [])];
  switch (Math.round((angle + 360) % 360)) {
    case 0:
    case 180:
      return { filters: flips, sideways: false };
    case 90:
      return { filters: [["transpose", c > 0 ? "cclock_flip" : "clock"]], sideways: true };
    case 270:
      return { filters: [["transpose", c < 0 ? "clock_flip" : "cclock"]], sideways: true };
    default:
      return none;
  }
}

/** A filter and its arguments. */
type Link = readonly [filter: string, args: string];

interface Graph {
  readonly graph: FilterGraph;
  readonly source: FilterContext;
  readonly sink: FilterContext;
}

/** Decoded frames to RGB of one size. The graph is built for the first frame and again when the frames change. */
export class RgbConverter {
  readonly #ffmpeg: Ffmpeg;
  readonly #name: string;
  readonly #filters: readonly Link[];
  readonly #transparent: boolean;
  readonly #output: Frame;
  #properties = "";
  #graph: Graph | undefined;

  /** `name` is for errors; `width` and `height` are those of the output, after the turn; `transparent` frames are laid on white. */
  constructor(ffmpeg: Ffmpeg, name: string, turn: Turn, width: number, height: number, transparent = false) {
    this.#ffmpeg = ffmpeg;
    this.#name = name;
    this.#transparent = transparent;
    this.#filters = [
      ...turn.filters,
      ["scale", `w=${width}:h=${height}:flags=bilinear:in_chroma_loc=bottom`],
      ["format", `pix_fmts=${transparent ? "rgba" : "rgb24"}`],
      ["buffersink", ""],
    ];
    this.#output = new ffmpeg.Frame();
    this.#output.alloc();
  }

  /** Rejects with `media_damaged`. */
  async convert(frame: Frame): Promise<RgbImage> {
    const { source, sink } = await this.#graphFor(frame);
    this.#check(await source.buffersrcAddFrame(frame, this.#ffmpeg.constants.AV_BUFFERSRC_FLAG_KEEP_REF));
    this.#check(await sink.buffersinkGetFrame(this.#output));
    const { width, height } = this.#output;
    const { buffer, byteOffset, byteLength } = this.#output.toBuffer();
    this.#output.unref();
    const samples = new Uint8Array(buffer, byteOffset, byteLength);
    return { width, height, data: this.#transparent ? toOpaque(samples, 4, true) : samples };
  }

  free(): void {
    this.#output.free();
    this.#graph?.graph.free();
    this.#graph = undefined;
  }

  async #graphFor(frame: Frame): Promise<Graph> {
    const { width, height, format, colorSpace, colorRange } = frame;
    const properties = `video_size=${width}x${height}:pix_fmt=${format}:time_base=1/1:colorspace=${colorSpace}:range=${colorRange}`;
    if (this.#graph !== undefined && properties === this.#properties) return this.#graph;
    this.#graph?.graph.free();
    this.#graph = undefined;
    const graph = new this.#ffmpeg.FilterGraph();
    graph.alloc();
    graph.nbThreads = 1;
    const source = this.#add(graph, ["buffer", properties]);
    let sink = source;
    for (const link of this.#filters) {
      const next = this.#add(graph, link);
      this.#check(sink.link(0, next, 0));
      sink = next;
    }
    this.#check(await graph.config());
    this.#properties = properties;
    this.#graph = { graph, source, sink };
    return this.#graph;
  }

  #add(graph: FilterGraph, [name, args]: Link): FilterContext {
    const filter = this.#ffmpeg.Filter.getByName(name);
    const context = filter && graph.createFilter(filter, `${name}${graph.nbFilters}`, args);
    if (context === null) throw this.#failure(`${name}: ${args}`);
    return context;
  }

  #check(code: number): void {
    if (code < 0) throw this.#failure(this.#ffmpeg.FFmpegError.strerror(code));
  }

  #failure(reason: string): VlRewardError {
    return new VlRewardError("media_damaged", `${this.#name}: its frames cannot be converted to RGB (${reason})`);
  }
}

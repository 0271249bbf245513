import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import plans from "../../../test/fixtures/video/plans.json" with { type: "json" };
import prepared from "../../../test/fixtures/video/prepared.json" with { type: "json" };
import type { VideoPart } from "../../conversation.ts";
import { VlRewardError } from "../../errors.ts";
import { openVideoPart, type PreparedVideo, planVideo, type VideoOptions } from "./video-process.ts";

const baseFolder = fileURLToPath(new URL("../../../test/fixtures/video/", import.meta.url));

const factor = 28;

async function prepareVideo(part: VideoPart, limits: { minPixels: number; maxPixels: number }): Promise<PreparedVideo> {
  const video = await openVideoPart(part, { ...limits, factor }, { baseFolder });
  try {
    return await video.read();
  } finally {
    await video.close();
  }
}

/** The reference's spelling of options, to ours. */
function camelCase(options: object): VideoOptions {
  const renamed = Object.entries(options).map(([key, value]: [string, unknown]) => [
    key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return Object.fromEntries(renamed) as VideoOptions;
}

type Video = [frames: number, fps: number, height: number, width: number];

describe("a plan is what fetch_video does", () => {
  test.each(plans.map((plan) => [JSON.stringify([plan.video, plan.options]), plan] as const))("%s", (_, recorded) => {
    const [frames, fps, height, width] = recorded.video as Video;
    const options = camelCase(recorded.options);
    const plan = () => planVideo(frames, fps, height, width, options, factor);
    const above = (low: number | undefined, high: number | undefined) =>
      (low ?? 0) > (high ?? Number.POSITIVE_INFINITY);
    const deliberate =
      above(options.minPixels, options.maxPixels) ||
      above(options.minFrames, options.maxFrames) ||
      above(options.videoStart, options.videoEnd);
    if (recorded.plan === null || deliberate) expect(plan).toThrow(VlRewardError);
    else expect(plan()).toEqual(recorded.plan);
  });
});

describe("options that contradict each other are refused", () => {
  test.each<[code: string, message: string, options: VideoOptions]>([
    ["media_options", "both fps (2) and nframes (4)", { fps: 2, nframes: 4 }],
    ["media_options", "fps 0", { fps: 0 }],
    ["media_options", "min_frames 9, more than max_frames 8", { minFrames: 9, maxFrames: 8 }],
    ["media_options", "min_pixels 5000, more than max_pixels 4000", { minPixels: 5000, maxPixels: 4000 }],
    ["media_options", "video_start 2, not before video_end 2", { videoStart: 2, videoEnd: 2 }],
    ["media_options", "resized_width but no resized_height", { resizedWidth: 56 }],
    ["media_options", "nframes 102, rounded to 102; it must lie within 2 and its 100 frames", { nframes: 102 }],
    ["media_options", "nframes 1, rounded to 0", { nframes: 1 }],
    ["media_options", "max_frames 1", { maxFrames: 1 }],
    ["media_no_frames", "from 5 s to 4 s has 0 frames", { videoStart: 5 }],
    ["media_no_frames", "from 0 s to 0.01 s has 1 frame", { videoEnd: 0.01 }],
  ])("%s: %s", (code, message, options) => {
    expect(() => planVideo(100, 25, 76, 104, options, factor)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error,
    );
  });

  test("one frame of many is no video", () => {
    expect(() => planVideo(50, 25, 76, 104, { videoStart: 1, videoEnd: 1.03 }, factor)).toThrow(
      expect.objectContaining({ code: "media_no_frames" }) as Error,
    );
  });

  test("more tokens than any model reads", () => {
    const large = { minFrames: 700, maxFrames: 768, resizedHeight: 3584, resizedWidth: 3584 };
    expect(() => planVideo(800, 25, 76, 104, large, factor)).toThrow(
      expect.objectContaining({
        code: "media_options",
        message: expect.stringContaining("3584 x 3584 pixels"),
      }) as Error,
    );
  });

  test("a file of one frame is read as a list of one picture: the frame twice over", () => {
    expect(planVideo(1, 25, 76, 104, {}, factor).indices).toEqual([0, 0]);
    expect(planVideo(1, 25, 76, 104, { nframes: 2, videoStart: 0 }, factor).indices).toEqual([0, 0]);
    expect(() => planVideo(1, 25, 76, 104, { nframes: 4 }, factor)).toThrow(
      expect.objectContaining({ code: "media_no_frames" }) as Error,
    );
  });

  test("an empty list of frames", async () => {
    const part: VideoPart = { type: "video", video: [] };
    await expect(prepareVideo(part, { minPixels: 0, maxPixels: 1e9 })).rejects.toMatchObject({
      code: "media_no_frames",
    });
  });
});

// Files are resized by libtorch; versions and processors may round a value that lies between two bytes differently.
const closeBy = 1;

describe("frames are those that fetch_video and the image processor make", () => {
  test.each(prepared.map((video) => [JSON.stringify(video.part), video] as const))("%s", async (_, expected) => {
    const [minPixels = 0, maxPixels = 0] = expected.limits;
    const part = { type: "video", ...camelCase(expected.part) } as VideoPart;
    const { frames, secondsPerGrid } = await prepareVideo(part, { minPixels, maxPixels });
    expect(secondsPerGrid).toBe(expected.secondsPerGrid);
    expect([frames.length, frames[0]?.height, frames[0]?.width, 3]).toEqual(expected.shape);
    for (const frame of frames) expect(frame.data).toHaveLength(frame.width * frame.height * 3);

    const rows = Buffer.from(expected.first, "base64");
    const differences = rows.map((value, index) => Math.abs(value - (frames[0]?.data[index] ?? Number.NaN)));
    expect(Math.max(...differences)).toBeLessThanOrEqual(typeof part.video === "string" ? closeBy : 0);
    const hashes = frames.map((frame) => createHash("sha256").update(frame.data).digest("hex"));
    if (typeof part.video !== "string") expect(hashes).toEqual(expected.sha256);
  });
});

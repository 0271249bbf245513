import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { type MediaLimits, type MediaPolicy, RewardEngine, serverPolicy } from "vl-reward";
import { fixtures, group, scored, user } from "./groups.ts";

const dataUrl = (type: string, file: string): string =>
  `data:${type};base64,${readFileSync(path.join(fixtures, "media", file), "base64")}`;
const picture = dataUrl("image/png", "grey.png");
const video = dataUrl("video/mp4", "clip.mp4");
const ask = (...images: string[]) => group([user("What is this?", ...images)], "A wave.");
const watch = (source: string | readonly string[]) =>
  group([{ role: "user", content: [{ type: "video", video: source }] }], "A wave.");

/** Of each group, the code of its error or "scored". */
async function outcomes(media: MediaPolicy, ...groups: readonly ReturnType<typeof group>[]): Promise<string[]> {
  await using engine = await RewardEngine.open({
    folder: path.join(fixtures, "plain"),
    dtype: "float32",
    device: "cpu",
    media,
  });
  return (await scored(engine, groups)).map((result) => ("error" in result ? result.error.code : "scored"));
}
const limited = (limits: Partial<MediaLimits>): MediaPolicy => ({
  ...serverPolicy,
  limits: { ...serverPolicy.limits, ...limits },
});

test("the server's policy reads data URLs, and neither files nor this machine's servers", async () => {
  const groups = [ask(picture), watch(video), ask("media/grey.png"), watch(["media/grey.png", picture])];
  expect(await outcomes(serverPolicy, ...groups, ask("http://127.0.0.1:8080/"))).toEqual([
    "scored",
    "scored",
    "media_forbidden",
    "media_forbidden",
    "media_forbidden",
  ]);
});

test("limits hold for pictures, frames and videos", async () => {
  const groups = [ask(picture), ask(picture, picture), watch([picture, picture]), watch(video)];
  expect(await outcomes(limited({ maxPictures: 1, maxVideos: 0 }), ...groups)).toEqual([
    "scored",
    "media_forbidden",
    "media_forbidden",
    "media_forbidden",
  ]);
  expect(await outcomes(limited({ maxFrames: 1 }), ask(picture), watch(video))).toEqual(["scored", "media_too_large"]);
  const large = await outcomes(limited({ maxPixels: 100 }), ...groups);
  expect(large).toEqual(groups.map(() => "media_too_large"));
});

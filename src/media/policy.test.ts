import { expect, test } from "vitest";
import { assertKindAllowed, assertMediaAllowed, localPolicy, type MediaPolicy, serverPolicy } from "./policy.ts";

const sources = {
  address: "HTTPS://example.com/a.png",
  data: "Data:image/png;base64,AAAA",
  path: "pictures/a.png",
  absolute: "/etc/hosts",
  fileUrl: "FILE:///etc/hosts",
  drive: "C:/a.png",
};
/** Which of the sources a policy lets through. */
const allowed = (policy: MediaPolicy): string[] =>
  Object.entries(sources)
    .filter(([, source]) => {
      try {
        assertKindAllowed(source, policy);
        return true;
      } catch (error) {
        expect(error).toMatchObject({ code: "media_forbidden" });
        return false;
      }
    })
    .map(([name]) => name);

test("the local policy lets every kind of source through, the server's addresses and data URLs", () => {
  expect(allowed(localPolicy)).toEqual(Object.keys(sources));
  expect(allowed(serverPolicy)).toEqual(["address", "data"]);
  expect(allowed({ ...localPolicy, addresses: "none" })).toEqual(["data", "path", "absolute", "fileUrl", "drive"]);
  expect(allowed({ ...localPolicy, dataUrls: false, files: { below: "/srv" } })).not.toContain("data");
});

test("policies are plain data", () => {
  for (const policy of [localPolicy, serverPolicy]) expect(structuredClone(policy)).toEqual(policy);
});

test("a refusal says what was asked, what is allowed and how to allow it", () => {
  expect(() => assertKindAllowed("/etc/hosts", serverPolicy)).toThrow(
    '/etc/hosts is a file, and the media policy allows none; send it as a data URL, or set files to "anywhere" or to ' +
      "{ below: folder }",
  );
});

test("pictures, frames and videos are counted, and every frame's kind is judged", () => {
  const image = { type: "image", image: sources.data } as const;
  const list = (...video: readonly string[]) => ({ type: "video", video }) as const;
  const policy = { ...serverPolicy, limits: { ...serverPolicy.limits, maxPictures: 3, maxVideos: 1 } };
  assertMediaAllowed([image, list(sources.data, sources.address)], policy);
  expect(() => assertMediaAllowed([image, image, list(sources.data, sources.data)], policy)).toThrow(
    "there are 4 pictures and frames, and the media policy allows 3",
  );
  const video = { type: "video", video: sources.address } as const;
  expect(() => assertMediaAllowed([video, video], policy)).toThrow("there are 2 videos, and the media policy allows 1");
  expect(() => assertMediaAllowed([list(sources.data, sources.path)], policy)).toThrow(
    "pictures/a.png is a file, and the media policy allows none",
  );
});

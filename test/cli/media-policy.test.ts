/**
 * @file What records may have read, from the flags and from the library's option to the threads that read.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { serve } from "../local-server.ts";
import { root, run } from "./command.ts";

const picture = path.join(root, "examples/pictures/chelsea.png");
let folder: string;
let inside: string; // in.png, records.jsonl and a link out, below folder, which has out.png

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "vl-reward-policy-"));
  inside = path.join(folder, "inside");
  mkdirSync(inside);
  copyFileSync(picture, path.join(inside, "in.png"));
  copyFileSync(picture, path.join(folder, "out.png"));
  symlinkSync("../out.png", path.join(inside, "link.png"));
  await run(["--version"]); // builds what is missing outside of the test's time limit
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const dataUrl = `data:image/png;base64,${readFileSync(picture, "base64")}`;
const look = (image: string) => [
  {
    role: "user",
    content: [
      { type: "image", image },
      { type: "text", text: "What is it?" },
    ],
  },
];
const write = (name: string, images: readonly string[], answers: object): string => {
  const file = path.join(inside, name);
  writeFileSync(file, images.map((image) => `${JSON.stringify({ messages: look(image), ...answers })}\n`).join(""));
  return file;
};
/** Of each result line, the error's code or "scored". */
const outcomes = (stdout: string): string[] =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { error?: { code: string } }).error?.code ?? "scored");

it("score: a record that asks for more has its error line, the others are scored", async () => {
  await using server = await serve((_, response) => response.end(readFileSync(picture)));
  const images = ["in.png", "../out.png", "link.png", pathToFileURL(picture).href, server.address, dataUrl];
  const file = write("records.jsonl", images, { responses: ["A cat."] });
  const score = (...flags: readonly string[]) => run(["score", file, "--device", "cpu", ...flags]);

  const free = await score();
  expect([free.code, outcomes(free.stdout)]).toEqual([0, images.map(() => "scored")]);
  const connections = server.connections.length;
  expect(connections).toBe(1);

  const bound = await score("--media-root", inside, "--no-network");
  const refused = "media_forbidden";
  expect([bound.code, outcomes(bound.stdout)]).toEqual([1, ["scored", refused, refused, refused, refused, "scored"]]);
  expect(bound.stdout).toContain(`../out.png is not below ${inside}`);
  expect(bound.stdout).toContain("leave --no-network away");
  expect(server.connections).toHaveLength(connections);

  const { code, stderr } = await score("--media-root", path.join(folder, "none"));
  expect([code, stderr]).toEqual([2, expect.stringContaining("Expected a folder that is there.")]);
});

it("train: the check of the records refuses what the flags do not allow", async () => {
  const answers = { chosen: "A cat.", rejected: "A dog." };
  const check = (file: string, ...flags: readonly string[]) => {
    const config = path.join(folder, "train.yaml");
    const stage = { data: [{ path: file }], epochs: 1, batch_size: 1, learning_rate: 1e-4 };
    writeFileSync(config, JSON.stringify({ model: "tiny", output: "run", stages: [stage] })); // which is YAML too
    return run(["train", config, "--check", "--device", "cpu", ...flags]);
  };
  const flags = ["--media-root", inside, "--no-network"];
  const good = write("good.jsonl", ["in.png", dataUrl], answers);
  expect(await check(good, ...flags)).toMatchObject({ code: 0, stdout: "" });
  for (const image of ["../out.png", "http://127.0.0.1:9/a.png"]) {
    const bad = write("bad.jsonl", ["in.png", image], answers);
    expect(await check(bad)).toMatchObject({ code: 0 });
    expect(await check(bad, ...flags)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("media policy allows n"),
    });
  }
});

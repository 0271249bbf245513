import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exitCode, linesOf, root, run, start } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "vl-reward-score-"));
const file = (name: string, content: string | Uint8Array) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const jsonLines = (...records: readonly unknown[]) => records.map((record) => `${JSON.stringify(record)}\n`).join("");

const question = { role: "user", content: "What is 2 + 2?" };
const conversation = (answer: string) => ({ messages: [question, { role: "assistant", content: answer }] });

interface Result {
  id: string | number;
  score: number;
  scores: number[];
  best: number;
  chosen: number;
  rejected: number;
  margin: number;
  error: { code: string; message: string };
}

interface Stats {
  tokens: number;
  seconds: { load: number; media: number; compute: number; total: number };
  peak_rss_mb: number;
}

/** Each line must end in a line feed and be JSON. */
function results(stdout: string): Result[] {
  expect(stdout === "" || stdout.endsWith("\n")).toBe(true);
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

beforeAll(() => run(["--version"])); // builds what is missing outside of the tests' time limits
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("results", () => {
  it("have the shape of their records, the same numbers for the same answers, and 0 as exit code", async () => {
    const [better, worse] = ["The sum is 4.", "Purple."];
    const { code, stdout } = await run(
      ["score", "-"],
      jsonLines(
        conversation(better),
        conversation(worse),
        { id: "all", messages: [question], responses: [worse, better, worse], label: { mine: true } },
        { id: 7.5, messages: [question], chosen: better, rejected: worse },
      ),
    );
    expect(code).toBe(0);
    const [first, second, all, pair, ...more] = results(stdout);
    expect(more).toEqual([]);
    expect([first, second, all, pair].map((result) => Object.keys(result ?? {}))).toEqual([
      ["id", "score"],
      ["id", "score"],
      ["id", "scores", "best"],
      ["id", "chosen", "rejected", "margin"],
    ]);
    expect([first?.id, second?.id, all?.id, pair?.id]).toEqual([0, 1, "all", 7.5]);
    if (!first || !second || !all || !pair) throw new Error("results are missing");
    expect(first.score).not.toBe(second.score);
    for (const [found, expected] of [
      [all.scores[0], second.score],
      [all.scores[1], first.score],
      [all.scores[2], second.score],
      [pair.chosen, first.score],
      [pair.rejected, second.score],
      [pair.margin, first.score - second.score],
    ] as const) {
      expect(Math.abs((found ?? Number.NaN) - expected)).toBeLessThan(1e-5);
    }
    expect(all.best).toBe(all.scores.indexOf(Math.max(...all.scores)));
  });

  it("score the shipped photographs, with pictures beside the input file", async () => {
    const { code, stdout } = await run(["score", "examples/photographs.jsonl"]);
    expect(code).toBe(0);
    expect(results(stdout).map(({ id, scores }) => [id, scores.length])).toEqual([
      ["cat", 4],
      ["coffee", 4],
      ["rocket", 4],
      ["galaxies", 4],
      ["train", 4],
    ]);
  });

  it("accept a byte order mark, Windows line ends and a last line without one; blank lines count", async () => {
    const record = JSON.stringify(conversation("4"));
    const { code, stdout } = await run(["score", "-"], `\uFEFF${record}\r\n\r\n \t\n${record}`);
    expect(code).toBe(0);
    expect(results(stdout).map(({ id }) => id)).toEqual([0, 3]);
  });

  it("depend on the picture and on its size", async () => {
    const look = (picture: object) => ({
      messages: [{ role: "user", content: [picture, { type: "text", text: "What?" }] }],
      responses: ["A cat."],
    });
    const image = (name: string) => `${root}examples/pictures/${name}`;
    const base64 = readFileSync(image("chelsea.png"), "base64");
    const { code, stdout } = await run(
      ["score", "-"],
      jsonLines(
        look({ type: "image", image: image("chelsea.png") }),
        look({ type: "image_url", image_url: { url: `data:image/png;base64,${base64}` } }),
        look({ type: "image", image: image("coffee.jpg") }),
        look({ type: "image", image: image("chelsea.png"), max_pixels: 28 * 28 * 16 }),
      ),
    );
    expect(code).toBe(0);
    const [path, dataUrl, other, small] = results(stdout).map(({ scores }) => scores[0] ?? Number.NaN);
    expect(dataUrl).toBe(path);
    expect(other).not.toBe(path);
    expect(small).not.toBe(path);

    const limited = await run(
      ["score", "-", "--max-pixels", String(28 * 28 * 16)],
      jsonLines(look({ type: "image", image: image("chelsea.png") })),
    );
    expect(results(limited.stdout)[0]?.scores[0]).toBe(small);
  });
});

describe("bad records", () => {
  it("get their own error line in their place, the rest are scored, and the exit code is 1", async () => {
    const cat = readFileSync(join(root, "examples/pictures/chelsea.png"));
    file("damaged.png", cat.subarray(0, 20_000));
    file("unknown.png", "this is no picture");
    file("huge.png", emptyPng(20_000, 20_000));
    await sharp({ create: { width: 2, height: 500, channels: 3, background: "red" } }).toFile(join(folder, "tall.png"));
    for (const name of ["pair.png", "half.png"]) file(name, cat);
    const see = (image: string, options = {}) => ({
      id: image,
      messages: [{ role: "user", content: [{ type: "image", image, ...options }] }],
      responses: ["It is a cat."],
    });
    const watch = (id: string, options: object) => ({
      id,
      messages: [{ role: "user", content: [{ type: "video", ...options }] }],
      responses: ["It is a cat."],
    });
    const lines: [string, string][] = [
      ["scored", JSON.stringify(conversation("4"))],
      ["invalid_json", "{"],
      ["invalid_json", "{'messages': []}"],
      ["invalid_record", "[]"],
      ["invalid_record", JSON.stringify({ messages: "hello" })],
      ["invalid_roles", JSON.stringify({ messages: [{ role: "robot", content: "x" }] })],
      ["no_assistant_turn", JSON.stringify({ messages: [question] })],
      ["empty_candidates", JSON.stringify({ messages: [question], responses: [] })],
      ["media_not_found", JSON.stringify(see("missing.png"))],
      ["media_damaged", JSON.stringify(see("damaged.png"))],
      ["media_unknown_format", JSON.stringify(see("unknown.png"))],
      ["media_too_large", JSON.stringify(see("huge.png"))],
      ["media_aspect_ratio", JSON.stringify(see("tall.png"))],
      ["media_options", JSON.stringify(see("pair.png", { min_pixels: 9999, max_pixels: 1000 }))],
      ["media_options", JSON.stringify(see("half.png", { resized_width: 280 }))],
      ["media_options", JSON.stringify(watch("fps", { video: ["pair.png"], fps: 1, nframes: 4 }))],
      ["media_options", JSON.stringify(watch("frames", { video: ["pair.png"], min_frames: 8, max_frames: 4 }))],
      ["media_options", JSON.stringify(watch("ends", { video: ["pair.png"], video_start: 3, video_end: 2 }))],
      ["media_no_frames", JSON.stringify(watch("none", { video: [] }))],
      ["sequence_too_long", JSON.stringify(conversation("word ".repeat(200_000)))],
      ["scored", JSON.stringify(conversation("4"))],
    ];
    const { code, stdout, stderr } = await run([
      "score",
      file("bad.jsonl", lines.map(([, line]) => `${line}\n`).join("")),
    ]);
    const found = results(stdout);
    expect(found.map(({ error }) => error?.code ?? "scored")).toEqual(lines.map(([expected]) => expected));
    expect(found.map(({ id }) => id)).toEqual(
      lines.map(([, line], number) => /^\{"id":"([^"]+)"/.exec(line)?.[1] ?? number),
    );
    expect(found.at(-1)?.score).toBe(found[0]?.score);
    for (const { error } of found) if (error) expect(error.message).not.toMatch(/\n|node_modules/);
    expect(code).toBe(1);
    expect(stderr).toContain("21 records");
    expect(stderr).toContain("19 of them could not be scored");
  });

  it("include lines that are not UTF-8", async () => {
    const input = Buffer.concat([Buffer.from('{"id":"'), Buffer.from([0xff]), Buffer.from('"}\n{}\n')]);
    const { code, stdout } = await run(["score", "-"], input);
    expect(results(stdout).map(({ id, error }) => [id, error.code])).toEqual([
      [0, "invalid_json"],
      [1, "invalid_record"],
    ]);
    expect(code).toBe(1);
  });
});

describe("streaming", () => {
  it("writes a line as soon as its record is done, before the next one is there", async () => {
    const child = start("score", "-");
    const lines = linesOf(child.stdout);
    for (const [input, expected] of [
      [jsonLines(conversation("4")), { id: 0, score: expect.any(Number) }],
      ["not json\n", { id: 1, error: expect.objectContaining({ code: "invalid_json" }) }],
      [jsonLines({ id: "x", ...conversation("5") }), { id: "x", score: expect.any(Number) }],
    ] as const) {
      child.stdin.write(input);
      expect(JSON.parse(await lines.next())).toEqual(expected);
    }
    child.stdin.end();
    expect(await exitCode(child)).toBe(1);
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("leaves whole lines and exit code %s -> %i, and does not score the rest", async (signal, code) => {
    const output = join(folder, `${signal}.jsonl`);
    const long = conversation("word ".repeat(300));
    const input = file("long.jsonl", jsonLines(...Array.from({ length: 20_000 }, () => long)));
    const child = start("score", input, "--output", output);
    while (!existsSync(output) || readFileSync(output).length === 0) await sleep(20);
    await sleep(300);
    child.kill(signal);
    expect(await exitCode(child)).toBe(code);
    const found = results(readFileSync(output, "utf8"));
    expect(found.length).toBeGreaterThan(0);
    expect(found.length).toBeLessThan(20_000);
    expect(found.map(({ id }) => id)).toEqual(found.map((_, index) => index));
  });

  it("stops at once when interrupted while it waits for standard input", async () => {
    const child = start("score", "-");
    child.stdin.write(jsonLines(conversation("4")));
    await linesOf(child.stdout).next();
    child.kill("SIGINT");
    expect(await exitCode(child)).toBe(130);
  });

  it("ends when interrupted while nobody reads its output", async () => {
    const child = start("score", file("unread.jsonl", "{}\n".repeat(50_000)));
    await once(child.stdout, "readable"); // and no more: the pipe fills up
    await sleep(500);
    child.kill("SIGTERM");
    await once(child, "exit");
    expect([child.exitCode, child.signalCode]).toEqual([null, "SIGTERM"]);
  });

  it("ends quietly when the reader of its output has gone", async () => {
    const input = file("many.jsonl", "{}\n".repeat(50_000));
    const script = `"$0" bin/vl-reward.mjs score "$1" | head -n 1; exit "\${PIPESTATUS[0]}"`;
    const { status, stdout, stderr } = spawnSync("bash", ["-c", script, process.execPath, input], {
      cwd: root,
      encoding: "utf8",
    });
    expect(results(stdout)).toHaveLength(1);
    expect(status).toBe(0);
    expect(stderr).not.toMatch(/EPIPE|error/i);
  });

  it("does not empty standard output that others have written to", async () => {
    const shared = file("shared.txt", "");
    const script = `echo before; echo '{}' | "$0" bin/vl-reward.mjs score -`;
    spawnSync("bash", ["-c", `(${script}) > "$1"`, process.execPath, shared], { cwd: root });
    expect(readFileSync(shared, "utf8")).toMatch(/^before\n\{"id":0,.*\}\n$/);
  });
});

describe("files", () => {
  it("writes results and statistics", async () => {
    const output = file("out.jsonl", "what stood here before, longer than a line of results would ever be ".repeat(9));
    const stats = join(folder, "stats.json");
    const records = jsonLines({ messages: [question], responses: ["4", "5", "6"] }, {}, conversation("4"));
    const { code, stdout } = await run(["score", "-", "--output", output, "--stats", stats], records);
    expect(code).toBe(1);
    expect(stdout).toBe("");
    expect(results(readFileSync(output, "utf8")).map(({ id }) => id)).toEqual([0, 1, 2]);
    const found: Stats = JSON.parse(readFileSync(stats, "utf8"));
    expect(found).toEqual({
      format: "messages",
      records: 3,
      failed: 1,
      sequences: 4,
      tokens: expect.any(Number),
      seconds: Object.fromEntries(["load", "media", "compute", "total"].map((name) => [name, expect.any(Number)])),
      peak_rss_mb: expect.any(Number),
      caches: { pictures: expect.any(Object), features: expect.any(Object), prefixes: expect.any(Object) },
      devices: [{ device: expect.any(String), sequences: 4, tokens: found.tokens, seconds: found.seconds.compute }],
    });
    const { load, media, compute, total } = found.seconds;
    for (const part of [load, media, compute]) expect(part).toBeGreaterThanOrEqual(0);
    expect(compute).toBeGreaterThan(0);
    expect(total).toBeGreaterThanOrEqual(load + media + compute);
    expect(found.tokens).toBeGreaterThan(4 * 10);
    expect(found.peak_rss_mb).toBeGreaterThan(20);
  });

  it("makes an empty output of an empty input", async () => {
    const output = join(folder, "empty-out.jsonl");
    expect((await run(["score", file("empty.jsonl", ""), "--output", output])).code).toBe(0);
    expect(readFileSync(output, "utf8")).toBe("");
  });
});

describe("what ends a run at once, with exit code 2 and one sentence", () => {
  const examples = join(root, "examples/examples.jsonl");
  const old = file("old.jsonl", "keep me\n");
  const never = join(folder, "never.jsonl");

  it.each([
    [["score"], /missing required argument/],
    [["score", examples, "--modle", "tiny"], /unknown option '--modle'/],
    [["demo", "more"], /too many arguments/],
    [["score", examples, "--dtype", "float16"], /float32, bfloat16/],
    [["score", examples, "--device", "gpu"], /auto, cpu, cuda or cuda:N/],
    [["score", examples, "--max-pixels", "0"], /positive whole number/],
    [["score", examples, "--min-pixels", "9", "--max-pixels", "8"], /--min-pixels 9 is larger/],
    [["score", join(folder, "nothing.jsonl")], /cannot be read: no such file or directory/],
    [["score", folder], /is a folder/],
    [["score", examples, "--output", join(folder, "no/such/folder.jsonl")], /cannot be written: no such file/],
    [["score", examples, "--output", folder], /cannot be written/],
    [["score", examples, "--output", examples], /is another file of this run/],
    [["score", examples, "--output", never, "--stats", never], /is another file of this run/],
    [["score", examples, "--model", join(folder, "no-model"), "--output", old], /no-model/],
    [["score", examples, "--model", "nonsense", "--output", never, "--stats", `${never}.json`], /nonsense/],
    [["score", examples, "--revision", "main"], /revision/],
    [["frobnicate"], /unknown command 'frobnicate'/],
  ])("%j", async (args, message) => {
    const before = readFileSync(examples);
    const { code, stdout, stderr } = await run(args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^vl-reward: [^\n]+\n(\(Did you mean [^\n]+\n)?$/);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(readFileSync(examples)).toEqual(before);
    expect(readFileSync(old, "utf8")).toBe("keep me\n");
    expect(existsSync(never)).toBe(false);
  });

  it("a full disk", async () => {
    if (!existsSync("/dev/full")) return;
    const { code, stderr } = await run(["score", "-", "--output", "/dev/full"], jsonLines({}));
    expect(stderr).toContain("The output cannot be written: no space left on device.");
    expect(code).toBe(2);
  });
});

describe("help", () => {
  it("prints the version of package.json", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(await run(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("shows flags and examples", async () => {
    const { code, stdout } = await run(["score", "--help"]);
    expect(code).toBe(0);
    const flags = ["model", "revision", "output", "dtype", "device", "min-pixels", "max-pixels", "stats", "profile"];
    for (const flag of flags) expect(stdout).toContain(`--${flag}`);
    expect(stdout).toContain("vl-reward score examples/examples.jsonl");
  });
});

/** A PNG that declares this size and has no pixels. */
function emptyPng(width: number, height: number): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8); // 8 bits, RGB
  const chunk = (type: string, data: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    checksum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, checksum]);
  };
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", new Uint8Array()),
    chunk("IEND", new Uint8Array()),
  ]);
}

/** @file What `score` and `embed` read and write besides one file: several inputs, standard streams, places that are no files. */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root, run } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "vl-reward-files-"));
const at = (...parts: string[]): string => join(folder, ...parts);
const examples = join(root, "examples/records.jsonl");

beforeAll(async () => {
  // Each beside a picture of its own under the same name: results tell whose folder a path began at.
  for (const [name, picture] of [
    ["one", "scene-1.png"],
    ["two", "scene-3.png"],
  ] as const) {
    mkdirSync(at(name));
    copyFileSync(join(root, "examples/pictures", picture), at(name, "picture.png"));
    const content = [{ type: "image", image: "picture.png" }];
    const record = { messages: [{ role: "user", content }], responses: ["It is cyan.", "It is purple."] };
    writeFileSync(
      at(name, "records.jsonl"),
      `${JSON.stringify(record)}\n\n${JSON.stringify({ id: "x", ...record })}\n`,
    );
  }
  await run(["--version"]);
});
afterAll(() => rmSync(folder, { recursive: true }));

const parsed = (text: string): { id: string | number; file?: string }[] =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

/** What a run over one file says, with the name that it has among others. */
async function alone(file: string): Promise<object[]> {
  const { stdout } = await run(["score", file]);
  return parsed(stdout).map(({ id, ...rest }) => ({ id, file, ...rest }));
}

describe("several inputs", () => {
  it("give each file's results in their order, with its own ids, paths and scores, and say which file it is", async () => {
    const [one, two] = [at("one/records.jsonl"), at("two/records.jsonl")];
    const { code, stdout, stderr } = await run(["score", two, one]);
    expect([code, stderr]).toEqual([0, expect.stringContaining("4 records")]);
    const expected = [...(await alone(two)), ...(await alone(one))];
    expect(parsed(stdout)).toEqual(expected);
    expect(parsed(stdout).map(({ id }) => id)).toEqual([0, "x", 0, "x"]);
    expect(Object.keys(parsed(stdout)[0] ?? {}).slice(0, 2)).toEqual(["id", "file"]);
    expect(expected[0]).not.toEqual({ ...expected[2], file: two });
  });

  it("may be a pattern, which stands for its files by name, and standard input", async () => {
    const record = '{"messages": [{"role": "user", "content": "2 + 2?"}], "responses": ["4"]}';
    const { code, stdout } = await run(["score", at("*/*.jsonl"), "-"], record);
    expect(code).toBe(0);
    const [one, two] = [at("one/records.jsonl"), at("two/records.jsonl")];
    expect(parsed(stdout).map(({ file }) => file)).toEqual([one, one, two, two, "-"]);
  });

  it("keep a single file's results as they are, also where a pattern names it", async () => {
    const { stdout } = await run(["score", at("one/*.jsonl")]);
    expect(stdout).toBe((await run(["score", at("one/records.jsonl")])).stdout);
    expect(stdout).not.toContain('"file"');
  });

  it("stand beside the rows of a matrix", async () => {
    const { code } = await run([
      "embed",
      at("one/records.jsonl"),
      at("two/records.jsonl"),
      "--of",
      "prompt",
      "--output",
      at("m.npy"),
    ]);
    expect(code).toBe(0);
    expect(parsed(readFileSync(at("m.npy.jsonl"), "utf8"))).toEqual(
      ["one", "one", "two", "two"].map((name, row) => ({
        row,
        id: row % 2 === 0 ? 0 : "x",
        file: at(name, "records.jsonl"),
      })),
    );
  });

  it.each([
    [["score", "-", "-"], /Standard input \(-\) is named more than once/],
    [["score", "no*such.jsonl"], /no\*such\.jsonl cannot be read: no file has such a name/],
    [["score", examples, at("absent.jsonl")], /absent\.jsonl cannot be read: no such file/],
    [["score", examples, "examples"], /The input examples is a folder/],
    [["score", examples, "package.json", "--output", "package.json"], /is another file of this run/],
  ])("%j ends before anything is scored", async (args, message) => {
    const { code, stdout, stderr } = await run(args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });
});

describe("standard streams", () => {
  it.each(["score", "embed"])("%s writes to standard output for --output -", async (command) => {
    const { code, stdout } = await run([command, examples, "--output", "-"]);
    expect(code).toBe(0);
    expect(stdout).toBe((await run([command, examples])).stdout);
    expect(existsSync(join(root, "-"))).toBe(false);
  });

  it("are named in errors", async () => {
    const { status, stderr } = spawnSync(
      "bash",
      ["-c", '"$0" bin/vl-reward.mjs score - < examples', process.execPath],
      {
        cwd: root,
        encoding: "utf8",
      },
    );
    expect([status, stderr]).toEqual([2, "vl-reward: Standard input is a folder; expected a JSON Lines file.\n"]);
    const { code, stderr: said } = await run(["score", examples, "--stats", "-"]);
    expect([code, said]).toEqual([2, expect.stringContaining("name a file")]);
  });
});

describe.skipIf(process.platform !== "linux")("standard output that was closed at the start (needs Linux)", () => {
  const inShell = (command: string): ReturnType<typeof spawnSync> =>
    spawnSync("bash", ["-c", `"$0" bin/vl-reward.mjs ${command}; exit $?`, process.execPath], {
      cwd: root,
      encoding: "utf8",
    });

  it("ends the run before anything is scored", () => {
    for (const command of ["score", "embed"]) {
      const { status, stderr } = inShell(`${command} examples/records.jsonl >&-`);
      expect([status, stderr]).toEqual([
        2,
        expect.stringMatching(/^vl-reward: Standard output is closed; .*--output FILE\.\n$/),
      ]);
    }
  });

  it("matters only where the results would go there", () => {
    expect(inShell(`score examples/records.jsonl --output ${at("closed.jsonl")} >&-`).status).toBe(0);
    expect(parsed(readFileSync(at("closed.jsonl"), "utf8"))).toHaveLength(3);
    expect(inShell("score examples/records.jsonl > /dev/null").status).toBe(0);
  });

  it("is not what a program does that throws our output away", () => {
    const command = ["bin/vl-reward.mjs", "score", "examples/records.jsonl"];
    expect(spawnSync(process.execPath, command, { cwd: root, stdio: "ignore" }).status).toBe(0);
    const shell = spawnSync("bash", ["-c", `"$0" ${command.join(" ")}; exit $?`, process.execPath], {
      cwd: root,
      stdio: "ignore",
    });
    expect(shell.status).toBe(0);
  });
});

describe("an output that cannot be one is refused at once", () => {
  it("a folder, a place where no file can be made, one that is not there", async () => {
    for (const [output, message] of [
      [folder, /cannot be written: it is a folder; name a file in it/],
      [at("no/such.jsonl"), /; there is no folder .*\/no\.$/m],
      ...(process.platform === "linux" ? [["/proc/x", /; no file can be made in \/proc/] as const] : []),
    ] as const) {
      for (const command of [
        ["score", examples, "--output", output],
        ["score", examples, "--stats", output],
        ["evaluate", "synthetic", "--output", output],
      ]) {
        const { code, stdout, stderr } = await run(command);
        expect([command[0], code, stdout]).toEqual([command[0], 2, ""]);
        expect(stderr).toMatch(message);
      }
    }
  });

  it("a named pipe that nobody reads; one that is read is written to", async () => {
    const pipe = at("pipe");
    execFileSync("mkfifo", [pipe]);
    const { code, stderr } = await run(["score", examples, "--output", pipe]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("a named pipe or a socket that nobody reads")]);
    const script = `cat "$1" & sleep 0.2; "$0" bin/vl-reward.mjs score examples/records.jsonl --output "$1"; status=$?; wait; exit $status`;
    const read = spawnSync("bash", ["-c", script, process.execPath, pipe], { cwd: root, encoding: "utf8" });
    expect([read.status, read.stdout]).toEqual([0, (await run(["score", examples])).stdout]);
  });
});

describe("a failure as JSON", () => {
  it.each([
    [["--json", "frobnicate"], "usage", "unknown command 'frobnicate'"],
    [["score", "--json"], "usage", "missing required argument 'inputs'"],
    [["score", examples, "--json", "--dtype", "float16"], "usage", expect.stringContaining("float32, bfloat16")],
    [
      ["score", "absent.jsonl", "--json"],
      "input_unreadable",
      "The input absent.jsonl cannot be read: no such file or directory.",
    ],
    [
      ["embed", examples, "--json", "--model", "./absent"],
      "model_not_found",
      expect.stringContaining("no folder ./absent"),
    ],
    [["train", "absent.yaml", "--json"], "input_unreadable", expect.stringContaining("absent.yaml")],
  ])("%j", async (args, code, message) => {
    const outcome = await run(args);
    expect([outcome.code, outcome.stdout]).toEqual([2, ""]);
    expect(JSON.parse(outcome.stderr)).toEqual({ error: { code, message } });
  });

  it("is for those who ask", async () => {
    expect((await run(["score", "--", "--json"])).stderr).toMatch(/^vl-reward: The input --json cannot be read/);
    expect(await run(["score", examples, "--json"])).toMatchObject({
      code: 0,
      stdout: (await run(["score", examples])).stdout,
    });
  });
});

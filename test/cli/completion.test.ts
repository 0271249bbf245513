/** @file Completion asked of the shells themselves, and what they offer against the command's own help. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root, run } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "vl-reward-completion-"));
const script = (shell: string): string => join(folder, `vl-reward.${shell}`);

beforeAll(async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout, stderr } = await run(["completion", shell]);
    expect([code, stderr]).toEqual([0, ""]);
    writeFileSync(script(shell), stdout);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const has = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;

/** What bash offers for the last of these words; it splits --flag=value into three. */
function bash(...words: readonly string[]): string[] {
  const ask = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vl_reward; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", ask, "bash", script("bash"), "vl-reward", ...words], {
    cwd: root,
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  return stdout.split("\n").filter((line) => line !== "");
}

/** The words that the help of a command lists under a heading. */
async function helpOf(heading: string, ...command: readonly string[]): Promise<string[]> {
  const { stdout } = await run([...command, "--help"]);
  const section = stdout.split(`\n${heading}:\n`)[1]?.split("\n\n")[0] ?? "";
  return [...section.matchAll(/^ {2}(?:-\w, )?([\w-]+)/gm)].map(([, word = ""]) => word);
}

const commands = [
  ["score"],
  ["embed"],
  ["train"],
  ["evaluate", "synthetic"],
  ["tokenizer", "train"],
  ["synth"],
  ["demo"],
  ["doctor"],
  ["setup"],
];

describe.skipIf(!has("bash"))("bash (needs bash)", () => {
  it("offers the commands that help lists", async () => {
    const listed = (await helpOf("Commands")).filter((word) => word !== "help");
    expect(bash("").sort()).toEqual(listed.sort());
    expect(bash("sc")).toEqual(["score"]);
    expect(bash("tokenizer", "")).toEqual(["train"]);
    expect(bash("completion", "")).toEqual(["bash", "zsh", "fish"]);
  });

  it.each(commands)("offers the flags that the help of %s lists", async (...words) => {
    const command = words.filter((word) => typeof word === "string");
    const own = await helpOf("Options", ...command);
    expect(own).toContain("--help");
    const offered = new Set(bash(...command, "-"));
    expect([...offered]).toEqual(expect.arrayContaining(own));
    expect([...offered].filter((flag) => !own.includes(flag)).sort()).toEqual(["--json", "-h"]);
  });

  it("offers what a flag takes, written with a space or =", () => {
    const types = ["auto", "float32", "bfloat16"];
    expect(bash("score", "x.jsonl", "--dtype", "")).toEqual(types);
    expect(bash("score", "--dtype", "=")).toEqual(types);
    expect(bash("score", "--dtype", "=", "fl")).toEqual(["float32"]);
    expect(bash("score", "--model", "mod")).toEqual(["models"]);
    expect(bash("score", "--model", "tin")).toEqual(["tiny"]);
    expect(bash("score", "--output", "README")).toEqual(["README.md"]);
    expect(bash("score", "--max-pixels", "")).not.toContain("--output");
  });

  it("offers files for inputs, and takes none of them for a command", () => {
    expect(bash("score", "examples/re")).toEqual(["examples/records.jsonl"]);
    expect(bash("score", "train", "--per")).toEqual(["--per-token"]);
    writeFileSync(join(folder, "two words.jsonl"), "");
    expect(bash("score", `${folder}/two`)).toEqual([join(folder, "two words.jsonl")]);
  });
});

describe.skipIf(!has("fish"))("fish (needs fish)", () => {
  const fish = (line: string): string[] => {
    const { stdout, stderr } = spawnSync(
      "fish",
      ["-c", 'source $argv[1]; complete -C "$argv[2]"', script("fish"), line],
      {
        cwd: root,
        encoding: "utf8",
      },
    );
    expect(stderr).toBe("");
    return stdout.split("\n").flatMap((offer) => offer.split("\t")[0] || []);
  };

  it("offers commands, flags, values and files", () => {
    expect(fish("vl-reward sc")).toEqual(["score"]);
    expect(fish("vl-reward tokenizer ")).toEqual(["train"]);
    expect(fish("vl-reward tokenizer train --vo")).toEqual(["--vocab-size"]);
    expect(fish("vl-reward score --dtype ").sort()).toEqual(["auto", "bfloat16", "float32"]);
    expect(fish("vl-reward score --dtype=fl")).toEqual(["--dtype=float32"]);
    expect(fish("vl-reward score examples/re")).toEqual(["examples/records.jsonl"]);
    expect(fish("vl-reward score --media-root examples/p")).toEqual(["examples/pictures/"]);
    expect(fish("vl-reward demo examples/re")).toEqual([]);
  });
});

describe.skipIf(!has("zsh"))("zsh (needs zsh)", () => {
  /**
   * Types into an interactive zsh, once its line editor is ready, and presses Tab; what the line has become. Of several offers the
   * first one is taken.
   */
  const zsh = (line: string): string => {
    const found = join(folder, "line");
    const type = `zmodload zsh/zpty
      zpty z zsh -f -i
      zpty -w z "PROMPT='<rea''dy>'; autoload -U compinit; compinit -u -D; source $1; setopt menucomplete"
      zpty -w z "tell() { print -r -- \\$BUFFER > $3.part; mv $3.part $3 }; zle -N tell; bindkey '^X' tell; PROMPT='<set ''up>'"
      zpty -r -m z seen '*<set up>*'
      zpty -w -n z "$2"$'\\t'$'\\x18'
      while [[ ! -e $3 ]]; do zpty -r -t z seen; sleep 0.02; done`;
    spawnSync("zsh", ["-f", "-c", type, "zsh", script("zsh"), line, found], { cwd: root, timeout: 20_000 });
    const became = readFileSync(found, "utf8").trim();
    rmSync(found);
    return became;
  };

  it.each([
    ["vl-reward sc", "vl-reward score"],
    ["vl-reward tokenizer ", "vl-reward tokenizer train"],
    ["vl-reward tokenizer train --vo", "vl-reward tokenizer train --vocab-size="],
    ["vl-reward score --dtype fl", "vl-reward score --dtype float32"],
    ["vl-reward score --dtype=fl", "vl-reward score --dtype=float32"],
    ["vl-reward score --model tin", "vl-reward score --model tiny"],
    ["vl-reward score --media-root examples/p", "vl-reward score --media-root examples/pictures/"],
    ["vl-reward score examples/rec", "vl-reward score examples/records.jsonl"],
    ["vl-reward demo examples/rec", "vl-reward demo examples/rec"],
  ])("%s", (line, became) => {
    expect(zsh(line)).toBe(became);
  });
});

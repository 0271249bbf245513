/**
 * @file Model folders in which something is wrong: each loads and scores, or is refused in words with a documented code, within
 * seconds and within the memory of a few such models; none ends the process.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ErrorCode } from "../../src/errors.ts";
import { linesOf, root, run } from "../cli/command.ts";
import { damageFile } from "./folders.ts";
import { countOf, oneOf, type Random, randomOf, seed, tally } from "./random.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-fuzz-models-"));
const model = path.join(folder, "model");
const count = countOf("FOLDERS", 60);

/** For one folder; the tiny model takes a third of a second, and two tests may share a processor. */
const patience = 20_000;
/** Node, libtorch, and models of 5 MB that claim to be larger. */
const mostMegabytes = 1500;

/** Codes that say what is wrong with a folder, or with one that loads but gives no number. */
const refusals: readonly ErrorCode[] = [
  "model_not_found",
  "checkpoint_mismatch",
  "checkpoint_damaged",
  "checkpoint_unsupported",
  "config_invalid",
  "score_not_finite",
  "sequence_too_long",
];

interface Said {
  readonly scores?: readonly number[];
  readonly code?: string;
  readonly message?: string;
  readonly megabytes: number;
}

class Opener {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: { next(): Promise<string> };

  constructor() {
    const program = [path.join(root, "test/fuzz/open-models.mjs")];
    this.#child = spawn(process.execPath, program, { cwd: root, stdio: ["pipe", "pipe", "ignore"] });
    this.#child.stdin.on("error", () => {}); // it has ended; the next line says so
    this.#lines = linesOf(this.#child.stdout);
  }

  /** What the process says of a folder; undefined where it has ended, or says nothing. */
  async open(place: string): Promise<Said | undefined> {
    this.#child.stdin.write(`${place}\n`);
    const limit = AbortSignal.timeout(patience);
    try {
      const late = once(limit, "abort").then(() => Promise.reject(new Error("late")));
      return JSON.parse(await Promise.race([this.#lines.next(), late]));
    } catch {
      return undefined;
    }
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }
}

let opener: Opener;
beforeAll(async () => {
  await run(["--version"]); // builds what is missing outside of the tests' time limits
  opener = new Opener();
});
afterAll(() => {
  opener.close();
  rmSync(folder, { recursive: true });
});

const templates = [
  "{% for a in range(1000000000) %}{% endfor %}",
  "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
  "{% set ns = namespace(x='x') %}{% for a in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
  "{{ messages[0].content * 1000000000 }}",
  "{{ raise_exception(messages[0].content) }}",
  "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
  "{{ '%s' | format(1) }}{{ messages | tojson(indent=1000000000) }}",
  `${"{% if true %}".repeat(20_000)}${"{% endif %}".repeat(20_000)}`,
  "{{ messages.__class__ }}",
  "",
];

const sizes = [
  0,
  -1,
  1,
  3,
  65_535,
  1e9,
  2 ** 31,
  2 ** 53,
  1e308,
  0.5,
  null,
  "8",
  true,
  [],
  {},
  [4],
  "x".repeat(100_000),
];

/** Sets one of the numbers or words that a configuration consists of. */
function setSomething(file: string, random: Random): string {
  const config: Record<string, unknown> = JSON.parse(readFileSync(file, "utf8"));
  const nested = Object.values(config).filter((value) => typeof value === "object" && value !== null);
  const inside = oneOf<object>(random, [config, config, ...nested.filter((value) => !Array.isArray(value))]);
  const key = oneOf(random, Object.keys(inside));
  const value = oneOf(random, sizes);
  Reflect.set(inside, key, value);
  writeFileSync(file, JSON.stringify(config));
  return `${path.basename(file)}: ${key} is ${JSON.stringify(value).slice(0, 40)}`;
}

/** Makes the folder one in which something is wrong -> what */
function damage(random: Random): string {
  const configs = ["config.json", "config.json", "preprocessor_config.json", "tokenizer_config.json"];
  switch (random(8)) {
    case 0:
    case 1:
    case 2:
      return setSomething(path.join(model, oneOf(random, configs)), random);
    case 3: {
      const template = oneOf(random, templates);
      writeFileSync(path.join(model, "chat_template.jinja"), template);
      return `a chat template ${template.slice(0, 60)}`;
    }
    case 4: {
      const name = oneOf(random, [
        "model.safetensors.index.json",
        "adapter_config.json",
        "pytorch_model.bin",
        "merges.txt",
      ]);
      writeFileSync(
        path.join(model, name),
        oneOf(random, ["", "{}", '{"weight_map":{"a":"../../etc/passwd"}}', "\0\0\0\0"]),
      );
      return `${name} added`;
    }
    default:
      return damageFile(model, oneOf(random, readdirSync(model)), random);
  }
}

/** Where it is not scored, and not refused in words either. */
function wrongWith({ scores, code, message = "", megabytes }: Said): string | undefined {
  if (megabytes > mostMegabytes) return "so much memory";
  if (scores) return scores.every(Number.isFinite) ? undefined : "no finite number";
  if (!refusals.some((refusal) => refusal === code)) return "no code that says what is wrong with the folder";
  return message.length < 4200 ? undefined : `a message of ${message.length} characters`;
}

test(`${count} of them`, { timeout: 60_000 + patience * count }, async () => {
  const outcomes: string[] = [];
  const failures: string[] = [];
  for (let attempt = 0; attempt < count; attempt++) {
    const random = randomOf(attempt);
    rmSync(model, { recursive: true, force: true });
    cpSync(path.join(root, "models/tiny"), model, { recursive: true });
    const done = damage(random);
    if (random(10) === 0) rmSync(path.join(model, oneOf(random, readdirSync(model))), { recursive: true });
    const said = await opener.open(model);
    const shown = `seed ${seed}, attempt ${attempt}: ${done} -> ${JSON.stringify(said)?.slice(0, 600)}`;
    if (said === undefined || said.megabytes > mostMegabytes) {
      opener.close();
      opener = new Opener();
    }
    const wrong = said ? wrongWith(said) : `the process has ended, or gave no answer in ${patience} ms`;
    if (wrong !== undefined) failures.push(`${shown}: ${wrong}`);
    outcomes.push(said?.code ?? "scored");
  }
  console.info(`model folders: ${tally(outcomes)}`);
  expect(failures).toEqual([]);
});

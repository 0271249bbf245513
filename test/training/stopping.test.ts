/**
 * @file Signals and failures at the moments in which work could be lost: in a download, in the check, in a step, in an
 * evaluation. A picture behind an address says when a run has come so far, and holds it there.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { stringify } from "yaml";
import { oneRequest } from "../../src/training/processes.ts";
import { root, run } from "../cli/command.ts";
import { LocalHub } from "../local-hub.ts";
import { runsIn } from "./runs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-stopping-"));
const parity = path.join(import.meta.dirname, "../fixtures/parity");
const { linesOf } = runsIn(folder);
beforeAll(() => run(["--version"]), 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ask = (content: unknown) => ({
  messages: [{ role: "user", content }],
  chosen: "It is one of the two.",
  rejected: "No.",
});
const picture = (image: string) =>
  ask([
    { type: "image", image },
    { type: "text", text: "What is this?" },
  ]);

function write(name: string, records: readonly unknown[]): string {
  const file = path.join(folder, name);
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return file;
}

const texts = (of: string, count: number) => Array.from({ length: count }, (_, n) => ask(`${of} ${n}?`));
const training = write("training.jsonl", texts("training", 6));

/** A run of four steps that saves nothing but at its end, and where the validation set makes it. */
function configuration(name: string, keys: Readonly<Record<string, unknown>> = {}): string {
  const file = path.join(folder, `${name}.yaml`);
  const config = {
    model: path.join(parity, "plain"),
    output: name,
    threads: 1,
    stages: [{ name: "only", data: [{ path: training }], steps: 4, batch_size: 2, learning_rate: 3e-4 }],
    checkpoints: { every_minutes: 0 },
    ...keys,
  };
  writeFileSync(file, stringify(config));
  return file;
}

const statesOf = (name: string): string[] =>
  existsSync(path.join(folder, name, "checkpoints")) ? readdirSync(path.join(folder, name, "checkpoints")) : [];

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>;
  /** Resolves when standard error has this. */
  readonly says: (text: string) => Promise<void>;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const child = spawn(process.execPath, ["bin/vl-reward.mjs", "train", ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal, stderr }));
  const says = async (text: string): Promise<void> => {
    while (!stderr.includes(text)) {
      if (child.exitCode !== null) throw new Error(`ended without saying "${text}": ${stderr}`);
      await once(child.stderr, "data");
    }
  };
  return { child, ended, says };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** A server of one picture that answers when it is told to. */
class PictureServer {
  readonly address: string;
  readonly #waiting: ServerResponse[] = [];
  readonly #stop: () => void;
  #asked: () => void = () => {};

  private constructor(address: string, stop: () => void) {
    this.address = address;
    this.#stop = stop;
  }

  static async start(): Promise<PictureServer> {
    const http = createServer((_, response) => {
      server.#waiting.push(response);
      server.#asked();
    }).listen(0, "127.0.0.1");
    await once(http, "listening");
    const found = http.address();
    const port = typeof found === "object" && found !== null ? found.port : 0;
    const server = new PictureServer(`http://127.0.0.1:${port}/picture.jpg`, () => {
      http.closeAllConnections();
      http.close();
    });
    onTestFinished(() => server.#stop());
    return server;
  }

  /** Resolves when somebody waits for the picture. */
  async asked(): Promise<void> {
    if (this.#waiting.length > 0) return;
    await new Promise<void>((resolve) => {
      this.#asked = resolve;
    });
  }

  get isAsked(): boolean {
    return this.#waiting.length > 0;
  }

  answer(): void {
    const bytes = readFileSync(path.join(parity, "media/odd.jpg"));
    for (const response of this.#waiting.splice(0))
      response.writeHead(200, { "content-length": bytes.length }).end(bytes);
  }

  /** Answers whatever is asked from now on. */
  async open(): Promise<void> {
    for (;;) {
      await this.asked();
      this.answer();
    }
  }
}

describe("an evaluation", () => {
  const alone = ["--device", "cpu"];
  const two = ["--processes", "2", "--device", "cpu"];

  it.each([
    ["one process", alone, ""],
    ["the second of two", two, "[rank 1] "],
  ])(
    "that fails, in %s, loses no step: it is told, and the run goes on",
    { timeout: 60_000 },
    async (_, flags, who) => {
      const name = `failing-${flags.length}`;
      const damaged = path.join(folder, "damaged.jpg");
      writeFileSync(damaged, readFileSync(path.join(parity, "media/odd.jpg")).subarray(0, 700));
      const [first, second] = texts("validation", 2);
      const data = write("damaged.jsonl", [first, picture(damaged), second]);
      const config = configuration(name, { validation: { path: data, every_steps: 2 } });
      const { code, stderr } = await start([config, ...flags]).ended;
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(statesOf(name)).toEqual(["step-00000002", "step-00000004"]);
      for (const step of [2, 4]) expect(stderr).toContain(`${who}step ${step}: no validation, ${data}:2: `);
      expect(readFileSync(path.join(folder, name, "evaluations.jsonl"), "utf8")).toBe("");
      expect(readFileSync(path.join(folder, name, "report.html"), "utf8")).toContain("validation after step 4 failed");
    },
  );

  it.each([
    ["SIGTERM", alone],
    ["SIGTERM", two],
    ["SIGKILL", alone],
  ] as const)(
    "during which %s comes has its state, and is made when the run goes on (%s)",
    { timeout: 60_000 },
    async (signal, flags) => {
      const name = `evaluating-${signal}-${flags.length}`;
      const server = await PictureServer.start();
      const data = write(`${name}.jsonl`, [...texts("validation", 2), picture(server.address)]);
      const config = configuration(name, { validation: { path: data, every_steps: 2 } });
      const { child, ended, says } = start([config, ...flags]);
      await server.asked();
      expect(statesOf(name)).toEqual(["step-00000002"]);
      child.kill(signal);
      const answer = "SIGTERM: the validation is left off; the state is saved; once more ends at once.";
      if (signal === "SIGTERM") await says(answer);
      server.answer();
      expect(await ended).toMatchObject({ code: signal === "SIGTERM" ? 143 : null });
      expect(linesOf<{ step: number }>(name).map(({ step }) => step)).toEqual([1, 2]);
      expect(readFileSync(path.join(folder, name, "evaluations.jsonl"), "utf8")).toBe("");

      void server.open();
      const { code, stderr } = await start([config, "--resume", ...flags]).ended;
      expect({ code, stderr }).toMatchObject({ code: 0 });
      const evaluations = linesOf<{ step: number; pairs: number; accuracy: number }>(name, "evaluations.jsonl");
      expect(evaluations.map(({ step, pairs }) => [step, pairs])).toEqual([
        [2, 3],
        [4, 3],
      ]);
      // By this the best states are kept.
      for (const { step, accuracy } of evaluations) {
        const note = path.join(folder, name, `checkpoints/step-0000000${step}/evaluation.json`);
        expect(JSON.parse(readFileSync(note, "utf8"))).toEqual({ accuracy });
      }
    },
  );

  it("does not begin after a step in which the run was asked to stop", { timeout: 60_000 }, async () => {
    const [step, evaluation] = [await PictureServer.start(), await PictureServer.start()];
    const stages = [
      { name: "only", data: [{ path: write("step.jsonl", [picture(step.address)]) }], steps: 2, batch_size: 1 },
    ];
    const data = write("never.jsonl", [picture(evaluation.address)]);
    const { child, ended, says } = start([
      configuration("stopped", { stages, validation: { path: data, every_steps: 1 } }),
    ]);
    await step.asked();
    child.kill("SIGINT");
    await says("SIGINT: the state will be saved after this step; once more ends at once.");
    void step.open();
    const { code, stderr } = await ended;
    expect(code).toBe(130);
    expect(stderr).toContain("Stopped after step 1; --resume goes on from there.");
    expect(statesOf("stopped")).toEqual(["step-00000001"]);
    expect(evaluation.isAsked).toBe(false);
  });
});

describe("before the first step", () => {
  it("a signal ends a download", { timeout: 60_000 }, async () => {
    const commit = "1".repeat(40);
    const hub = await LocalHub.start(
      { "config.json": Buffer.from("{}"), "model.safetensors": Buffer.from("0") },
      commit,
    );
    onTestFinished(() => hub.stop());
    const asked = new Promise<void>((resolve) => {
      hub.intercept = ({ path: wanted }) => {
        const holds = wanted.endsWith("config.json");
        if (holds) resolve();
        return holds; // and never answers
      };
    });
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: path.join(folder, "hub"), HF_HUB_OFFLINE: "" };
    const { child, ended } = start([configuration("downloading", { model: "org/model" })], env);
    await asked;
    child.kill("SIGINT");
    const { code, stderr } = await ended;
    expect(code).toBe(130);
    expect(stderr).toBe("SIGINT: stopping; no step has been made; once more ends at once.\n");
    expect(existsSync(path.join(folder, "downloading"))).toBe(false);
  });

  it("a signal ends the wait for other processes", { timeout: 60_000 }, async () => {
    const port = await freePort();
    const env = { RANK: "0", WORLD_SIZE: "2", LOCAL_RANK: "0", MASTER_ADDR: "127.0.0.1", MASTER_PORT: String(port) };
    const { child, ended } = start([configuration("joining"), "--device", "cpu"], env);
    while (!(await isListening(port))) await sleep(20); // rank 0 keeps the store, where the other one is waited for
    child.kill("SIGINT");
    const { code, stderr } = await ended;
    expect({ code, stderr }).toEqual({
      code: 130,
      stderr: "SIGINT: stopping; no step has been made; once more ends at once.\n",
    });
  });

  it.each([
    ["--device", "cpu"],
    ["--processes", "2"],
  ])("a signal ends the check, without the model being loaded (%s %s)", { timeout: 60_000 }, async (...flags) => {
    // One file to say that the check has come so far, one that takes it seconds.
    const long = write("long.jsonl", texts("One of very many questions, the one of the number", 150_000));
    const stages = [{ name: "only", data: [{ path: training }, { path: long }], steps: 2, batch_size: 2 }];
    const { child, ended, says } = start([configuration("checking", { stages }), ...flags]);
    await says(`${training}: 6 of 6 records`);
    child.kill("SIGTERM");
    const { code, stderr } = await ended;
    expect(code).toBe(143);
    expect(stderr).toContain("SIGTERM: stopping; no step has been made; once more ends at once.");
    expect(stderr).not.toContain("memory: ");
    expect(existsSync(path.join(folder, "checking"))).toBe(false);
  });
});

describe("in a step", () => {
  const stages = (server: PictureServer) => [
    { name: "only", data: [{ path: write("held.jsonl", [picture(server.address)]) }], steps: 2, batch_size: 1 },
  ];

  it("SIGHUP saves the state, though the terminal is gone; what comes with it is no second request", {
    timeout: 60_000,
  }, async () => {
    const server = await PictureServer.start();
    const { child, ended } = start([configuration("hung-up", { stages: stages(server) })]);
    await server.asked();
    child.stderr?.destroy();
    child.kill("SIGHUP");
    child.kill("SIGTERM");
    await sleep(100); // both are heard before the step ends
    void server.open();
    expect(await ended).toMatchObject({ code: 129 });
    expect(statesOf("hung-up")).toEqual(["step-00000001"]);
  });

  it("any second signal ends the run at once", { timeout: 60_000 }, async () => {
    const server = await PictureServer.start();
    const { child, ended, says } = start([configuration("twice", { stages: stages(server) })]);
    await server.asked();
    child.kill("SIGINT");
    await says("once more ends at once");
    await sleep(oneRequest + 100);
    child.kill("SIGTERM");
    expect(await ended).toMatchObject({ code: null, signal: "SIGTERM" }); // the picture has never come
  });
});

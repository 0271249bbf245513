/** @file The addon in a worker thread: a table of its own, and a clean end. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { native, nativeBuild } from "./native.ts";
import { silu } from "./ops.ts";
import { liveTensors, tensorFrom } from "./tensor.ts";

// Plain JavaScript on the addon itself, since a worker of Node 20 reads no TypeScript.
const prelude = `
  const { parentPort, workerData } = require("node:worker_threads");
  const addon = require(workerData);
  const tensor = addon.fromBytes(Float32Array.of(1, 2, 3), [3], "float32", "cpu");
  const neg = addon.resolve("aten::neg", "");
  const result = addon.call(neg, tensor);
`;

const workerWith = (script: string) => new Worker(prelude + script, { eval: true, workerData: nativeBuild().addon });

describe("in a worker", () => {
  test("the addon has a table of its own", async () => {
    const mine = tensorFrom(Float32Array.of(1), [1]);
    const before = liveTensors().handles;
    const worker = workerWith(`
      const elements = new Float32Array(3);
      addon.readInto(result, elements);
      addon.setGradEnabled(false);
      parentPort.postMessage({ elements, handles: addon.liveHandles() });
    `);
    const ended = once(worker, "exit"); // may come together with the message
    const [message] = await once(worker, "message");
    expect(message).toEqual({ elements: Float32Array.of(-1, -2, -3), handles: 2 });
    expect(liveTensors().handles).toBe(before);
    expect(native().setGradEnabled(true)).toBe(true); // the worker's setting was its own
    expect(await ended).toEqual([0]);
    mine.dispose();
  });

  test("a number of threads is a JavaScript thread's own; what libtorch takes by itself stays known", async () => {
    const [before, standard] = [native().threads(), native().standardThreads()];
    native().setThreads(standard + 1);
    const worker = workerWith(`
      const started = addon.threads();
      addon.setThreads(started + 1);
      parentPort.postMessage({ started, own: addon.threads(), standard: addon.standardThreads() });
    `);
    const [message] = await once(worker, "message");
    expect(message).toEqual({ started: standard + 1, own: standard + 2, standard });
    expect(native().threads()).toBe(standard + 1);
    native().setThreads(before);
  });

  test("one that is terminated in the middle of its calls takes nothing with it", async () => {
    const worker = workerWith(`
      parentPort.postMessage("running");
      for (;;) addon.call(neg, tensor);
    `);
    await once(worker, "message");
    expect(await worker.terminate()).toBe(1);
    const input = tensorFrom(Float32Array.of(0), [1]);
    const output = silu(input);
    expect(output.toTypedArray()).toEqual(Float32Array.of(0));
    for (const tensor of [input, output]) tensor.dispose();
  });

  test("a process ends cleanly with workers that have ended, were terminated or still run", () => {
    const script = `
      const { Worker } = require("node:worker_threads");
      const prelude = ${JSON.stringify(prelude)};
      const start = (rest) => new Worker(prelude + rest, { eval: true, workerData: process.argv[1] });
      const addon = require(process.argv[1]);
      addon.fromBytes(new Float32Array(1000), [1000], "float32", "cpu");
      start("");
      start("parentPort.postMessage(0); for (;;) addon.call(neg, tensor);").once("message", async function () {
        await this.terminate();
        start("parentPort.postMessage(0); for (;;) addon.call(neg, tensor);").once("message", () => {
          console.log("done");
          process.exit(0);
        });
      });
    `;
    const child = spawnSync(process.execPath, ["-e", script, nativeBuild().addon], {
      encoding: "utf8",
      timeout: 30_000,
    });
    expect({ status: child.status, signal: child.signal, stdout: child.stdout, stderr: child.stderr }).toEqual({
      status: 0,
      signal: null,
      stdout: "done\n",
      stderr: "",
    });
  });
});

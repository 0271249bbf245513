/** @file The command itself: ends that are asked for, and one that is not. Clients that try again lose nothing. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { root } from "./serving.ts";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Resolves once the server says that it serves. */
async function serve(port: number, ...flags: string[]): Promise<ChildProcess> {
  const args = ["bin/vl-reward.mjs", "serve", "--port", String(port), "--no-access-log", "--memory", "1GB", ...flags];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += String(chunk);
  });
  while (!said.includes("try it")) {
    if (child.exitCode !== null) throw new Error(`the server ended: ${said}`);
    await sleep(20);
  }
  return child;
}

const itemOf = (index: number) => ({
  messages: [{ role: "user", content: `What is ${index} + 1?` }],
  responses: [`It is ${index + 1}.`, `It is ${index + 2}.`],
});

async function post(port: number, index: number): Promise<number[]> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/rewards`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ items: [itemOf(index)] }),
  });
  const { data } = (await response.json()) as { data: { scores: number[] }[] };
  return data[0]?.scores ?? [];
}

/** As trainers do: until it is answered. */
async function insist(port: number, index: number): Promise<number[]> {
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      return await post(port, index);
    } catch {
      await sleep(100);
    }
  }
  throw new Error(`request ${index} was never answered`);
}

test("kill -9 in the middle, and a start: clients that try again get every number", async () => {
  const port = await freePort();
  const first = await serve(port);
  const calm = await Promise.all(Array.from({ length: 20 }, (_, index) => post(port, index)));
  const answers = Array.from({ length: 120 }, (_, index) => insist(port, index));
  await answers[5];
  first.kill("SIGKILL");
  await once(first, "exit");
  await serve(port);
  const all = await Promise.all(answers);
  expect(all.every((scores) => scores.length === 2 && scores.every(Number.isFinite))).toBe(true);
  expect(all.slice(0, 20)).toEqual(calm);
}, 120_000);

test("SIGTERM: what is in flight is answered, the exit code is 0; new connections are refused", async () => {
  const port = await freePort();
  const server = await serve(port);
  const responses = Array.from({ length: 1500 }, (_, index) => `It is ${index}, and not ${index + 1}.`);
  const long = fetch(`http://127.0.0.1:${port}/v1/rewards`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ items: [{ messages: [{ role: "user", content: "Which one?" }], responses }] }),
  });
  const waiting = async () =>
    (await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).includes('queue_length{model="tiny"} 1');
  while (!(await waiting())) await sleep(5);
  server.kill("SIGTERM");
  const ended = once(server, "exit");
  const { data } = (await (await long).json()) as { data: { scores: number[] }[] };
  expect(data[0]?.scores).toHaveLength(responses.length);
  const [code] = await ended;
  expect(code).toBe(0);
  await expect(post(port, 1)).rejects.toThrow();
}, 60_000);

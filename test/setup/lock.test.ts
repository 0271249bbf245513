/** @file One setup at a time, and no lock that outlives its holder. */
import { spawnSync } from "node:child_process";
import { existsSync, utimesSync } from "node:fs";
import { hostname } from "node:os";
import { expect, it } from "vitest";
import { withLock } from "../../setup/lock.mjs";
import { listen, Sandbox } from "./sandbox.ts";

/** The id of a process that has just ended. */
function deadPid(): number {
  return spawnSync(process.execPath, ["-e", ""]).pid;
}

it("is held during the work and gone after it, also when the work fails", async () => {
  const sandbox = new Sandbox();
  const path = sandbox.path("deep", ".lock");
  expect(await withLock(path, () => Promise.resolve(existsSync(path)))).toBe(true);
  expect(existsSync(path)).toBe(false);
  await expect(withLock(path, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(existsSync(path)).toBe(false);
});

it("is taken from a dead process at once", async () => {
  const sandbox = new Sandbox();
  const path = sandbox.write(".lock", JSON.stringify({ pid: deadPid(), host: hostname() }));
  const said = listen();
  expect(await withLock(path, () => Promise.resolve("held"), 3_600_000)).toBe("held");
  expect(said.said()).toBe(""); // who waits says so
});

it.each([
  ["on another machine", JSON.stringify({ pid: process.pid, host: "elsewhere.example" })],
  ["whose note was never finished", '{"pid": 1'],
])("is taken from a silent holder %s after some patience", async (_, text) => {
  const sandbox = new Sandbox();
  const said = listen();
  const path = sandbox.write(".lock", text);
  expect(await withLock(path, () => Promise.resolve("held"), 700)).toBe("held");
  expect(said.said()).toMatch(/^waiting for another setup/);
});

it("is not taken from a living holder who shows signs of life, and says for whom it waits", async () => {
  const sandbox = new Sandbox();
  const said = listen();
  const path = sandbox.write(".lock", JSON.stringify({ pid: process.pid, host: hostname() }));
  const touching = setInterval(() => utimesSync(path, new Date(), new Date()), 50);
  let taken = false;
  const waiting = withLock(
    path,
    () => {
      taken = true;
      return Promise.resolve();
    },
    500,
  );
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(taken).toBe(false);
  expect(said.said()).toContain(`process ${process.pid}`);
  clearInterval(touching);
  await waiting;
  expect(taken).toBe(true);
});

it("lets many processes through one by one, though a dead one stood first", async () => {
  const sandbox = new Sandbox();
  const path = sandbox.write(".lock", JSON.stringify({ pid: deadPid(), host: hostname() }));
  const counter = sandbox.write("counter", "0");
  const code = `
    import { readFileSync, writeFileSync } from "node:fs";
    import { setTimeout as sleep } from "node:timers/promises";
    import { withLock } from "SETUP/lock.mjs";
    await withLock(${JSON.stringify(path)}, async () => {
      const count = Number(readFileSync(${JSON.stringify(counter)}, "utf8"));
      await sleep(30);
      writeFileSync(${JSON.stringify(counter)}, String(count + 1));
    });`;
  await Promise.all(Array.from({ length: 6 }, () => sandbox.spawn(code).output));
  expect(sandbox.read("counter")).toBe("6");
  expect(existsSync(path)).toBe(false);
});

/**
 * @file From flags to exit code: serves in this process, or in several behind one port, and ends as the signals say. The processes
 * share nothing but the folder of registered media; the first one only starts them and adds up their counts.
 */

import cluster, { type Worker } from "node:cluster";
import { availableParallelism, constants } from "node:os";
import { AggregatorRegistry, type PrometheusContentType } from "prom-client";
import { VlRewardError } from "../../errors.ts";
import { greeting, type ServeTask, type Serving, startServing } from "./run.ts";

type Signal = "SIGINT" | "SIGTERM";
const signals: readonly Signal[] = ["SIGINT", "SIGTERM"];

/** Resolves to the exit code, once the server has ended. Rejects where it could not begin. */
export async function serve(task: ServeTask): Promise<number> {
  process.stderr.on("error", () => {}); // whoever read the log has gone; the clients have not
  if (task.workers === 1) return serveHere(task);
  return cluster.isPrimary ? serveInWorkers(task) : serveAsWorker(task);
}

async function serveHere(task: ServeTask): Promise<number> {
  const ended = firstSignal();
  const serving = await startServing(task);
  process.stderr.write(`${greeting(serving.address, task)}\n`);
  await ended;
  return end(serving);
}

async function end(serving: Serving): Promise<number> {
  process.stderr.write("vl-reward: ending once what is in flight is answered; a second signal ends at once\n");
  await serving.close();
  return 0;
}

/** Resolves with the first signal; a second one ends the process at once. */
function firstSignal(): Promise<Signal> {
  return new Promise((resolve) => {
    for (const signal of signals) {
      process.once(signal, () => {
        for (const second of signals) process.once(second, () => process.exit(128 + constants.signals[second]));
        resolve(signal);
      });
    }
  });
}

async function serveAsWorker(task: ServeTask): Promise<number> {
  const ended = firstSignal();
  new AggregatorRegistry(); // answers the first process when that asks for the counts
  const serving = await startServing(task, askForMetrics);
  AggregatorRegistry.setRegistries([serving.app.metrics.registry]);
  process.send?.({ kind: "serving", address: serving.address });
  await ended;
  const code = await end(serving);
  process.disconnect?.();
  return code;
}

/** A worker knows its own counts only: the first process adds up. */
function askForMetrics(): Promise<string> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: { kind?: string; text?: string }) => {
      if (message.kind !== "metrics") return;
      process.off("message", onMessage);
      resolve(message.text ?? "");
    };
    process.on("message", onMessage);
    process.send?.({ kind: "metrics?" }, undefined, undefined, (error) => error && reject(error));
  });
}

async function serveInWorkers(task: ServeTask): Promise<number> {
  if (task.port === 0) throw new VlRewardError("usage", "--port 0 is a port for each worker; name one.");
  const aggregator = new AggregatorRegistry<PrometheusContentType>();
  const threads = Math.max(1, Math.floor(availableParallelism() / task.workers));
  let [ready, isEnding, code] = [0, false, 0];
  const start = () => {
    const worker = cluster.fork({ OMP_NUM_THREADS: process.env.OMP_NUM_THREADS ?? String(threads) });
    worker.on("message", (message: { kind?: string; address?: string }) => {
      if (message.kind === "metrics?") void answerMetrics(worker, aggregator);
      if (message.kind !== "serving") return;
      ready++;
      if (ready === task.workers) process.stderr.write(`${greeting(message.address ?? "", task)}\n`);
    });
  };
  for (let index = 0; index < task.workers; index++) start();
  const workers = () => Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
  void firstSignal().then((signal) => {
    isEnding = true;
    for (const worker of workers()) worker.process.kill(signal);
  });
  return new Promise((resolve) => {
    cluster.on("exit", (worker, exitCode, signal) => {
      if (!isEnding && ready >= task.workers) {
        process.stderr.write(
          `vl-reward: worker ${worker.process.pid} ended (${signal ?? exitCode}); another one starts\n`,
        );
        start();
        return;
      }
      if (!isEnding) {
        // It could not begin, and has said why: the others could not either, or would serve less than was asked for.
        isEnding = true;
        code = exitCode || 2;
        for (const other of workers()) other.process.kill("SIGTERM");
      }
      if (workers().length === 0) resolve(code);
    });
  });
}

async function answerMetrics(worker: Worker, aggregator: AggregatorRegistry<PrometheusContentType>) {
  const text = await aggregator.clusterMetrics().catch(() => "");
  worker.send({ kind: "metrics", text });
}

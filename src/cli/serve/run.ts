/** @file One serving process: its models, its app, its end. */

import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import type { FastifyInstance } from "fastify";
import { memoryBudget } from "../../engine/machine/memory.ts";
import { locateBase, locateModel } from "../../hub/locate.ts";
import type { MediaPolicy } from "../../media/policy.ts";
import { RewardEngine } from "../../reward/engine.ts";
import { createApp } from "../../server/app.ts";
import { Keys } from "../../server/keys.ts";
import { MediaRegistry } from "../../server/media-registry.ts";
import type { RequestLimits } from "../../server/served.ts";
import { ServedModels } from "../../server/served-models.ts";
import { policyOfServer } from "../../server/sources.ts";
import { modelLookup, sayUntrained } from "../embedded-model.ts";
import type { EngineChoice } from "../engine-flags.ts";
import { LiveLine } from "../live-line.ts";

export interface ServeTask {
  readonly models: readonly { readonly name: string; readonly choice: EngineChoice }[];
  readonly host: string;
  readonly port: number;
  readonly keysFile?: string;
  readonly addresses: MediaPolicy["addresses"];
  readonly origins: readonly string[];
  readonly limits: RequestLimits;
  readonly maxPictures: number;
  readonly media: { readonly folder: string; readonly maxTotalBytes: number };
  readonly accessLog: boolean;
  readonly workers: number;
}

export interface Serving {
  readonly app: FastifyInstance;
  /** Such as http://127.0.0.1:8000. */
  readonly address: string;
  /** Stops accepting, waits for what is in flight, frees the models. */
  close(): Promise<void>;
}

export const version: string = JSON.parse(
  readFileSync(new URL("../../../package.json", import.meta.url), "utf8"),
).version;

/**
 * Listens at once, while the models load: a probe is answered 503 meanwhile, a request waits. Resolves once they are there; rejects
 * with the first error.
 *
 * @param allMetrics of all processes, where there are several
 */
export async function startServing(task: ServeTask, allMetrics?: () => Promise<string>): Promise<Serving> {
  const say = new LiveLine(process.stderr.isTTY === true);
  const keys = task.keysFile === undefined ? undefined : Keys.fromFile(task.keysFile);
  const maxBytes = task.limits.bodyBytes;
  const registry = new MediaRegistry(task.media.folder, { maxBytes, maxTotalBytes: task.media.maxTotalBytes });
  const media = policyOfServer(registry, task.addresses, { maxPictures: task.maxPictures });
  const shares = task.models.length * task.workers;
  const engines = new Map(task.models.map(({ name, choice }) => [name, openModel(choice, media, shares, say)]));
  const models = new ServedModels(engines);
  const app = await createApp({
    models,
    registry,
    keys,
    limits: task.limits,
    origins: task.origins,
    version,
    ...(task.accessLog && { log: process.stderr }),
    ...(allMetrics && { allMetrics }),
  });
  const close = async () => {
    await app.close();
    await models.close();
  };
  try {
    await app.listen({ host: task.host, port: task.port });
    await models.ready();
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
  return { app, address: addressOf(app), close };
}

async function openModel(
  { model, base: named, revision, memory, ...choice }: EngineChoice,
  media: MediaPolicy,
  shares: number,
  live: LiveLine,
): Promise<RewardEngine> {
  const locating = modelLookup(live, new AbortController().signal);
  const folder = await locateModel(model, { ...locating, revision });
  const base = await locateBase(folder, named, locating);
  const share = Math.floor((memory ?? memoryBudget(undefined)) / shares);
  const engine = await RewardEngine.open({
    ...choice,
    folder,
    ...(base !== undefined && { base }),
    memory: share,
    media,
  });
  for (const note of engine.info.notes) live.say(`${model}: ${note}`);
  if (engine.info.untrained) live.say(`${model}: ${sayUntrained}`);
  return engine;
}

function addressOf(app: FastifyInstance): string {
  const { address, family, port } = app.server.address() as AddressInfo;
  const anywhere = address === "0.0.0.0" || address === "::";
  return `http://${anywhere ? "localhost" : family === "IPv6" ? `[${address}]` : address}:${port}`;
}

/** What a person reads once the models are there. */
export function greeting(address: string, task: ServeTask): string {
  const key = task.keysFile === undefined ? "" : " -H 'authorization: Bearer KEY'";
  const names = task.models.map(({ name }) => name).join(", ");
  const body =
    '{"items": [{"messages": [{"role": "user", "content": "What is 2 + 3?"}], "responses": ["It is 5.", "It is 6."]}]}';
  return [
    `Serving ${names} at ${address}`,
    `  playground   ${address}/`,
    `  all paths    ${address}/openapi.json`,
    `  try it       curl ${address}/v1/rewards -H 'content-type: application/json'${key} -d '${body}'`,
  ].join("\n");
}

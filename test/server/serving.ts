/** @file A server for tests: the app over a small checkpoint, on dist as its users have it. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { FastifyInstance } from "fastify";
import { type MediaPolicy, RewardEngine } from "vl-reward";
import { type AppOptions, createApp, MediaRegistry, policyOfServer, ServedModels } from "vl-reward/server";

export const root = path.join(import.meta.dirname, "../..");
export const parityFolder = path.join(root, "test/fixtures/parity");

export interface TestServer {
  readonly app: FastifyInstance;
  readonly engines: readonly RewardEngine[];
  readonly registry: MediaRegistry;
  close(): Promise<void>;
}

interface ServerChoice extends Partial<Pick<AppOptions, "keys" | "limits" | "origins" | "log">> {
  /** Folders by name. */
  readonly models?: Readonly<Record<string, string>>;
  readonly addresses?: MediaPolicy["addresses"];
  readonly media?: Partial<MediaPolicy["limits"]>;
}

const plain = { plain: path.join(parityFolder, "plain") };

export async function startServer({
  models = plain,
  addresses = "none",
  media = {},
  ...options
}: ServerChoice = {}): Promise<TestServer> {
  const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-server-"));
  const registry = new MediaRegistry(folder, { maxBytes: 10 ** 7, maxTotalBytes: 10 ** 8 });
  const policy = policyOfServer(registry, addresses, media);
  const opened = Object.entries(models).map(([name, folder]) => {
    return [name, RewardEngine.open({ folder, dtype: "float32", device: "cpu", media: policy })] as const;
  });
  const engines = await Promise.all(opened.map(([, engine]) => engine));
  const served = new ServedModels(new Map(opened));
  await served.ready();
  const app = await createApp({ models: served, registry, version: "0.0.0", ...options });
  await app.ready();
  return {
    app,
    engines,
    registry,
    close: async () => {
      await app.close();
      await served.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Of a server that has the path: the parsed answer. */
export async function post(
  { app }: TestServer,
  url: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
) {
  const payload = typeof body === "string" ? body : JSON.stringify(body);
  const answer = await app.inject({
    method: "POST",
    url,
    payload,
    headers: { "content-type": "application/json", ...headers },
  });
  const isJson = /^application\/json/.test(String(answer.headers["content-type"]));
  return {
    status: answer.statusCode,
    headers: answer.headers,
    text: answer.body,
    body: isJson ? JSON.parse(answer.body) : undefined,
  };
}

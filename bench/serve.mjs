/**
 * @file The server against the engine alone, on the same records, in turns: throughput with many clients, times of answers, what sharing a prompt and
 * registering a picture save. `node bench/serve.mjs [--model FOLDER] [--rounds 3] [--records 300]`
 *
 * Both compute on this machine, and so do the clients: a ratio below 1 is what HTTP, JSON and the clients cost on these cores.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Agent, request } from "undici";
import { RewardEngine } from "vl-reward";

const root = join(import.meta.dirname, "..");
const { values } = parseArgs({
  options: {
    model: { type: "string", default: join(root, "models/tiny") },
    rounds: { type: "string", default: "3" },
    records: { type: "string", default: "300" },
    port: { type: "string", default: "18337" },
  },
});
const [rounds, count] = [Number(values.rounds), Number(values.records)];
const address = `http://127.0.0.1:${values.port}`;
const agent = new Agent({ connections: 512, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 });

const pictures = ["scene-1", "scene-2", "scene-3", "crowd-1", "chart-1", "writing-1"].map((name) =>
  readFileSync(join(root, "examples/pictures", `${name}.png`)),
);
const dataUrl = (/** @type {number} */ index) =>
  `data:image/png;base64,${pictures[index % pictures.length]?.toString("base64")}`;

let unique = 0; // no record is asked twice: results are kept
const words =
  "the sum of these two numbers is larger than what stands on the left of the picture and smaller than the last one".split(
    " ",
  );
const sentence = (/** @type {number} */ length) =>
  `${unique++} ${Array.from({ length }, (_, index) => words[(index * 7 + unique) % words.length]).join(" ")}.`;

/** @type {Record<string, () => {messages: object[], responses: string[]}>} */
const kinds = {
  "text pairs": () => ({
    messages: [{ role: "user", content: sentence(60) }],
    responses: [sentence(30), sentence(30)],
  }),
  "picture pairs": () => ({
    messages: [
      {
        role: "user",
        content: [
          { type: "image", image: dataUrl(unique) },
          { type: "text", text: sentence(12) },
        ],
      },
    ],
    responses: [sentence(20), sentence(20)],
  }),
  "best of 8": () => ({
    messages: [{ role: "user", content: sentence(60) }],
    responses: Array.from({ length: 8 }, () => sentence(30)),
  }),
};
/** @typedef {ReturnType<(typeof kinds)[string]>} Item */

const groupOf = (/** @type {Item} */ { messages, responses }) =>
  /** @type {import("vl-reward").AnswerGroup} */ ({
    prefix: messages,
    branches: responses.map((content) => ({ role: "assistant", content })),
    baseFolder: root,
  });

/** @param {object} item @returns {Promise<number>} milliseconds */
async function ask(item) {
  const began = performance.now();
  const { body, statusCode } = await request(`${address}/v1/rewards`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ items: [item] }),
    dispatcher: agent,
  });
  const answer = /** @type {{data: {error?: {message: string}}[]}} */ (await body.json());
  if (statusCode !== 200 || answer.data[0]?.error) throw new Error(JSON.stringify(answer).slice(0, 300));
  return performance.now() - began;
}

/** @param {object[]} items @param {number} clients @returns {Promise<{seconds: number, times: number[]}>} */
async function throughServer(items, clients) {
  const [times, queue] = [/** @type {number[]} */ ([]), [...items]];
  const began = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (let item = queue.pop(); item; item = queue.pop()) times.push(await ask(item));
    }),
  );
  return { seconds: (performance.now() - began) / 1000, times };
}

/** @param {RewardEngine} engine @param {Item[]} items */
async function throughEngine(engine, items) {
  const began = performance.now();
  for await (const result of engine.score(items.map(groupOf))) if ("error" in result) throw result.error;
  return (performance.now() - began) / 1000;
}

const median = (/** @type {number[]} */ all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN;
const share = (/** @type {number[]} */ all, /** @type {number} */ p) =>
  all.toSorted((a, b) => a - b)[Math.min(all.length - 1, Math.floor(p * all.length))] ?? Number.NaN;
const made = (/** @type {() => Item} */ make, length = count) => Array.from({ length }, make);

const server = spawn(
  process.execPath,
  [
    "bin/vl-reward.mjs",
    "serve",
    "--model",
    `bench=${values.model}`,
    "--port",
    String(values.port),
    "--no-access-log",
    "--memory",
    "2GB",
  ],
  { cwd: root, stdio: ["ignore", "ignore", "pipe"] },
);
for await (const chunk of server.stderr) if (String(chunk).includes("Serving")) break;
const engine = await RewardEngine.open({ folder: String(values.model), dtype: "float32", device: "auto", memory: 2e9 });
try {
  console.log(`${count} records a run, ${rounds} rounds in turns; medians`);
  for (const [name, make] of Object.entries(kinds)) {
    await throughEngine(engine, made(make, 20));
    await throughServer(made(make, 20), 8);
    const ratios = [];
    const rates = [];
    for (let round = 0; round < rounds; round++) {
      const own = await throughEngine(engine, made(make));
      const { seconds } = await throughServer(made(make), 64);
      ratios.push(own / seconds);
      rates.push(count / seconds);
    }
    console.log(
      `${name}: ${median(rates).toFixed(0)} records/s with 64 clients, ${(100 * median(ratios)).toFixed(1)}% of the engine alone`,
    );
  }
  const pair = kinds["text pairs"];
  if (!pair) throw new Error("there is no such kind");
  for (const clients of [1, 8, 64, 256]) {
    const { times } = await throughServer(made(pair, Math.max(count, 2 * clients)), clients);
    console.log(
      `text pairs, ${clients} clients: p50 ${share(times, 0.5).toFixed(1)} ms, p99 ${share(times, 0.99).toFixed(1)} ms`,
    );
  }
  const added = [];
  for (let round = 0; round < 60; round++) {
    const began = performance.now();
    await engine.scoreGroup(groupOf(pair()));
    const own = performance.now() - began;
    added.push((await ask(pair())) - own);
  }
  console.log(`idle server, one text pair: ${median(added).toFixed(2)} ms more than the engine (60 in turns)`);

  const prompt = () => [
    {
      role: "user",
      content: [
        { type: "image", image: dataUrl(unique) },
        { type: "text", text: sentence(250) },
      ],
    },
  ];
  const alone = [];
  const shared = [];
  for (let round = 0; round < rounds; round++) {
    alone.push(
      (
        await throughServer(
          Array.from({ length: 200 }, () => ({ messages: prompt(), responses: [sentence(8)] })),
          64,
        )
      ).seconds,
    );
    const same = prompt();
    shared.push(
      (
        await throughServer(
          Array.from({ length: 200 }, () => ({ messages: same, responses: [sentence(8)] })),
          64,
        )
      ).seconds,
    );
  }
  console.log(
    `200 requests with one prompt: ${(median(alone) / median(shared)).toFixed(1)} times as fast as with prompts of their own`,
  );

  const large = readFileSync(join(root, "examples/pictures/chelsea.png"));
  const registered = /** @type {{id: string}} */ (
    await (
      await request(`${address}/v1/media`, {
        method: "POST",
        headers: { "content-type": "image/png" },
        body: large,
        dispatcher: agent,
      })
    ).body.json()
  );
  const seen = (/** @type {string} */ image) => ({
    messages: [
      {
        role: "user",
        content: [
          { type: "image", image },
          { type: "text", text: sentence(8) },
        ],
      },
    ],
    responses: [sentence(8)],
  });
  const inline = `data:image/png;base64,${large.toString("base64")}`;
  const [byData, byName] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  for (let round = 0; round < rounds; round++) {
    byData.push(
      (
        await throughServer(
          Array.from({ length: 100 }, () => seen(inline)),
          16,
        )
      ).seconds,
    );
    byName.push(
      (
        await throughServer(
          Array.from({ length: 100 }, () => seen(registered.id)),
          16,
        )
      ).seconds,
    );
  }
  const bytes = [inline, registered.id].map((image) => JSON.stringify({ items: [seen(image)] }).length);
  console.log(
    `a registered picture of ${large.length} bytes: ${bytes[1]} instead of ${bytes[0]} bytes a request, ${(median(byData) / median(byName)).toFixed(2)} times as fast`,
  );
} finally {
  await engine.close();
  await agent.close();
  server.kill("SIGTERM");
  await once(server, "exit");
}

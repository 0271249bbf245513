/** @file `vl-reward serve`: flags and what they may be together. run.ts serves, workers.ts several times behind one port. */

import { statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { VlRewardError } from "../../errors.ts";
import { cacheFolder } from "../../files/cache-folder.ts";
import { type MediaPolicy, serverPolicy } from "../../media/policy.ts";
import { defaultLimits } from "../../server/served.ts";
import {
  deviceFlag,
  dtypeFlag,
  engineChoice,
  featureCacheFlag,
  maxPixelsFlag,
  memoryFlag,
  minPixelsFlag,
  revisionFlag,
} from "../engine-flags.ts";
import { readCount } from "../flags.ts";
import type { ServeTask } from "./run.ts";

const notes = `
One port for every client: POST /v1/rewards takes the records of \`score\`; OpenRLHF, slime, LightRFT, align-anything, LLaMA-Factory, verl, vLLM,
SGLang, OpenAI, Cohere, Jina, text-embeddings-inference and Infinity find their own paths and answers (docs/serving.md). The playground is at /.

Examples:
  vl-reward serve
  vl-reward serve --model Skywork/Skywork-VL-Reward-7B --dtype bfloat16 --device cuda:0
  vl-reward serve --model tiny --model mine=./my-reward-model --port 9000
  vl-reward serve --host 0.0.0.0 --keys keys.txt --allow-media public
  vl-reward serve --workers 4 --no-access-log
  curl http://127.0.0.1:8000/v1/rewards -H 'content-type: application/json' \\
    -d '{"items": [{"messages": [{"role": "user", "content": "2 + 3?"}], "responses": ["5", "6"]}]}'

Exit code: 0 ended by SIGTERM or Ctrl-C once what was in flight is answered (a second one ends at once), 2 it could not serve.`;

export function addServeCommand(program: Command): void {
  program
    .command("serve")
    .summary("answer trainers, rerankers and browsers over HTTP")
    .description(
      "Serves rewards over HTTP, in the words of every trainer's and reranker's client, and a playground to look with.",
    )
    .addOption(
      new Option("--model <model>", "folder, hub id or tiny; or NAME=ONE of these; several times for several models")
        .argParser((text, before: readonly string[] | undefined) => [...(before ?? []), text])
        .default(undefined, "tiny"),
    )
    .addOption(revisionFlag)
    .addOption(new Option("--port <n>", "0 takes a free one").argParser(readPort).default(8000))
    .option("--host <address>", "where to listen; beyond this machine only with --keys", "127.0.0.1")
    .option(
      "--keys <file>",
      "a key a line, with a name before it where there are several; every path but health wants one",
    )
    .addOption(
      new Option(
        "--allow-media <where>",
        "fetch pictures: public (servers), or hosts such as images.example.org,10.0.0.5:9000",
      ).argParser(readHosts),
    )
    .option("--cors <origins>", "pages of these origins, separated by commas, may read answers")
    .addOption(
      new Option("--workers <n>", "processes behind one port, each with its models").argParser(readCount).default(1),
    )
    .addOption(new Option("--max-body <n>", "bytes of a request").argParser(readCount).default(defaultLimits.bodyBytes))
    .addOption(
      new Option("--max-items <n>", "records or conversations of a request")
        .argParser(readCount)
        .default(defaultLimits.items),
    )
    .addOption(
      new Option("--max-candidates <n>", "answers to one prompt")
        .argParser(readCount)
        .default(defaultLimits.candidates),
    )
    .addOption(
      new Option("--max-pictures <n>", "pictures and frames of one prompt")
        .argParser(readCount)
        .default(serverPolicy.limits.maxPictures),
    )
    .option("--media-folder <folder>", "where registered pictures and videos are kept (default: in the cache folder)")
    .addOption(new Option("--media-space <n>", "bytes that they may take").argParser(readCount).default(4 * 2 ** 30))
    .option("--no-access-log", "do not log requests on standard error")
    .addOption(dtypeFlag)
    .addOption(deviceFlag)
    .addOption(minPixelsFlag)
    .addOption(maxPixelsFlag)
    .addOption(memoryFlag)
    .addOption(featureCacheFlag)
    .addHelpText("after", notes)
    .action(async (flags) => {
      const { host, port, keys, workers, model = ["tiny"], accessLog, cors } = flags;
      const task: ServeTask = {
        models: namedModels(model, flags.revision).map(({ name, model }) => {
          const choice = engineChoice({ ...flags, model, network: true });
          return { name, choice };
        }),
        host,
        port,
        ...(keys !== undefined && { keysFile: keys }),
        addresses: flags.allowMedia ?? "none",
        origins: cors?.split(",").map((origin) => origin.trim()) ?? [],
        limits: { bodyBytes: flags.maxBody, items: flags.maxItems, candidates: flags.maxCandidates },
        maxPictures: flags.maxPictures,
        media: {
          folder: resolve(flags.mediaFolder ?? join(cacheFolder(process.env), "media")),
          maxTotalBytes: flags.mediaSpace,
        },
        accessLog,
        workers,
      };
      assertGuarded(host, keys);
      const { serve } = await import("./workers.ts");
      process.exitCode = await serve(task);
    });
}

/** A name before "=" where the whole is no folder; else a folder's last part, or the hub's id. */
function namedModels(
  models: readonly string[],
  revision: string | undefined,
): { readonly name: string; readonly model: string }[] {
  if (models.length > 1 && revision !== undefined) {
    throw new VlRewardError("usage", "--revision is for one model; of several, write org/name@revision.");
  }
  const named = models.map((text) => {
    const at = text.indexOf("=");
    if (at > 0 && !isFolder(text)) return { name: text.slice(0, at), model: text.slice(at + 1) };
    return { name: isFolder(text) ? basename(resolve(text)) : text, model: text };
  });
  const twice = named.find(({ name }, index) => named.findIndex((other) => other.name === name) < index);
  if (twice === undefined) return named;
  throw new VlRewardError("usage", `Two models would be served as ${twice.name}; name them: --model NAME=FOLDER.`);
}

const isFolder = (text: string): boolean => statSync(text, { throwIfNoEntry: false })?.isDirectory() === true;

function assertGuarded(host: string, keys: string | undefined): void {
  const isLoopback = host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
  if (isLoopback || keys !== undefined) return;
  throw new VlRewardError(
    "usage",
    `--host ${host} lets others in, and there are no keys. Write some into a file, one a line ` +
      "(openssl rand -hex 24 > keys.txt), and add --keys keys.txt; or leave --host out and serve this machine only.",
  );
}

function readPort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port < 65_536) return port;
  throw new InvalidArgumentError("Expected a port from 0 to 65535.");
}

function readHosts(text: string): MediaPolicy["addresses"] {
  if (text === "public" || text === "none") return text;
  const hosts = text.split(",").map((host) => host.trim().toLowerCase());
  const isHost = (host: string) => URL.canParse(`http://${host}`) && new URL(`http://${host}/`).host === host;
  const wrong = hosts.find((host) => !isHost(host));
  if (wrong === undefined) return { hosts };
  throw new InvalidArgumentError(
    `Expected public, none, or hosts separated by commas; "${wrong.slice(0, 80)}" is no host.`,
  );
}

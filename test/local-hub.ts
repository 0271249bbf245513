/**
 * @file A Hugging Face hub on this machine, for tests: two HTTP servers, the hub and the storage that it redirects to.
 *
 * Answers as the hub does (observed by huggingface_hub's file_download.py and hf_api.py): the list of files of a
 * revision; small files from the hub itself through a relative redirect, named by git's blob hash; large files by
 * redirect to a signed address on the storage host, named by sha256. `intercept` lets a test misbehave.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface SeenRequest {
  readonly server: "hub" | "storage";
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

/** Returns true when it answered the request itself. */
export type Intercept = (request: SeenRequest, response: ServerResponse) => boolean;

export class LocalHub {
  readonly id = "org/model";
  readonly files: Map<string, Buffer>;
  readonly seen: SeenRequest[] = [];
  /** Branches and tags. */
  readonly revisions = new Map<string, string>();
  intercept: Intercept = () => false;
  readonly #hub: Server;
  readonly #storage: Server;

  private constructor(files: Record<string, Buffer>, commit: string) {
    this.files = new Map(Object.entries(files));
    this.revisions.set("main", commit);
    this.#hub = createServer((request, response) => this.#serve("hub", request, response));
    this.#storage = createServer((request, response) => this.#serve("storage", request, response));
  }

  static async start(files: Record<string, Buffer>, commit: string): Promise<LocalHub> {
    const hub = new LocalHub(files, commit);
    for (const server of [hub.#hub, hub.#storage]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    return hub;
  }

  get endpoint(): string {
    return addressOf(this.#hub);
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** The checksum by which the hub names a file. */
  etag(name: string): string {
    const bytes = this.#bytes(name);
    return isLarge(name)
      ? createHash("sha256").update(bytes).digest("hex")
      : execFileSync("git", ["hash-object", "--stdin"], { input: bytes }).toString().trim();
  }

  /** Requests that brought bytes of files. */
  get downloads(): SeenRequest[] {
    return this.seen.filter(({ method, path }) => method === "GET" && !path.startsWith("/api/models/"));
  }

  #bytes(name: string): Buffer {
    const bytes = this.files.get(name);
    if (bytes === undefined) {
      throw new Error(`the local hub has no ${name}`);
    }
    return bytes;
  }

  #serve(server: "hub" | "storage", request: IncomingMessage, response: ServerResponse): void {
    const seen: SeenRequest = {
      server,
      method: request.method ?? "",
      path: decodeURIComponent(request.url ?? ""),
      authorization: request.headers.authorization,
      range: request.headers.range,
    };
    this.seen.push(seen);
    if (this.intercept(seen, response)) {
      return;
    }
    if (server === "storage") {
      this.#send(response, seen, this.#bytes(seen.path.replace(/^\/signed\/|\?.*$/g, "")));
      return;
    }
    const [, revision] = /^\/api\/models\/org\/model\/revision\/(.+)$/.exec(seen.path) ?? [];
    if (revision !== undefined) {
      this.#list(response, revision);
      return;
    }
    const [, place, commit, name] =
      /^\/(org\/model\/resolve|api\/resolve-cache\/models\/org\/model)\/([0-9a-f]+)\/([^?]+)/.exec(seen.path) ?? [];
    if (commit === undefined || name === undefined || !this.files.has(name)) {
      response.writeHead(404, { "x-error-code": commit === undefined ? "RepoNotFound" : "EntryNotFound" }).end();
      return;
    }
    response.setHeader("x-repo-commit", commit);
    if (place !== "org/model/resolve") {
      response.setHeader("etag", `"${this.etag(name)}"`);
      this.#send(response, seen, this.#bytes(name));
    } else if (isLarge(name)) {
      response.setHeader("x-linked-etag", `"${this.etag(name)}"`);
      response.setHeader("x-linked-size", this.#bytes(name).length);
      response.setHeader("etag", '"of-the-pointer"');
      response.writeHead(302, { location: `${addressOf(this.#storage)}/signed/${name}?signature=1` }).end();
    } else {
      response.writeHead(307, { location: `/api/resolve-cache/models/org/model/${commit}/${name}?cached=1` }).end();
    }
  }

  #list(response: ServerResponse, revision: string): void {
    const commit = [...this.revisions.values()].includes(revision) ? revision : this.revisions.get(revision);
    if (commit === undefined) {
      response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end();
      return;
    }
    const siblings = [...this.files.keys()].map((rfilename) => ({ rfilename }));
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ id: this.id, sha: commit, siblings }));
  }

  #send(response: ServerResponse, { method, range }: SeenRequest, bytes: Buffer): void {
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? "0");
    if (range !== undefined) {
      response.setHeader("content-range", `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
    }
    response.writeHead(range === undefined ? 200 : 206, { "content-length": bytes.length - from });
    response.end(method === "HEAD" ? undefined : bytes.subarray(from));
  }
}

function isLarge(name: string): boolean {
  return name.endsWith(".safetensors");
}

function addressOf(server: Server): string {
  const address = server.address() as AddressInfo;
  return `http://127.0.0.1:${address.port}`;
}

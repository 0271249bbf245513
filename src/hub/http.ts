/**
 * @file Talking to a hub: one request with its redirects, what its refusals mean, and when to try again.
 *
 * The protocol is that of Python's huggingface_hub 0.36 (file_download.py, utils/_http.py): `X-Error-Code` names the
 * reason of a refusal; large files redirect to storage on another host, with a signed address that must not see the token.
 * Knows nothing of files on disk.
 */
import type { Headers, ProxyAgent, Response } from "undici";
import { VlRewardError } from "../errors.ts";
import { proxyDispatcher, proxyFor } from "../net/proxy.ts";
import { pause } from "../tasks/pause.ts";
import type { HubSettings } from "./settings.ts";

/** The hub could not be reached or was not able to answer: the same request may succeed later. */
export class HubUnreachable extends VlRewardError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("download_failed", message, options);
  }
}

/** What is asked for, to name it in messages. */
export interface Subject {
  readonly id: string;
  readonly revision: string;
  readonly file?: string;
}

export interface Request {
  readonly method: "GET" | "HEAD";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer with status 2xx (for HEAD also a redirect to another host), whose body is read through `chunks`. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  chunks(): AsyncGenerator<Uint8Array>;
}

/**
 * Sends one request to the hub and hands the answer to `use`; the connection is closed when `use` is done. GET follows
 * every redirect, HEAD those within the hub (a renamed repository); the token goes to the hub's own origin only. Each
 * address goes through the proxy that the environment names for it.
 * @throws HubUnreachable on broken connections, silence, 429 and 5xx; VlRewardError when the hub refuses
 */
export async function ask<T>(
  settings: HubSettings,
  subject: Subject,
  request: Request,
  signal: AbortSignal,
  use: (answer: Answer) => Promise<T>,
): Promise<T> {
  const closing = new AbortController();
  const silence = setTimeout(() => {
    closing.abort(new Error(`no data for ${settings.idleTimeout / 1000} s`));
  }, settings.idleTimeout);
  const connection = AbortSignal.any([signal, closing.signal]);
  const network = async <R>(url: URL, step: () => Promise<R>): Promise<R> => {
    try {
      const result = await step();
      silence.refresh();
      return result;
    } catch (cause) {
      signal.throwIfAborted();
      throw new HubUnreachable(
        `${describe(subject)}: the connection to ${url.host}${through(url)} failed (${reason(cause)}).`,
        {
          cause,
        },
      );
    }
  };

  const proxies: ProxyAgent[] = [];
  try {
    const { fetch, Headers } = await import("undici"); // Node's own fetch takes no proxy
    const home = new URL(settings.endpoint).origin;
    let url = new URL(settings.endpoint + request.path);
    let trusted = true; // once off the hub's origin, the token stays behind even if a redirect leads back
    for (let hops = 0; hops < 6; hops++) {
      const headers = new Headers(request.headers);
      headers.set("accept-encoding", "identity"); // sizes and ranges are those of the file itself
      headers.set("user-agent", "vl-reward");
      if (trusted && settings.token !== undefined) {
        headers.set("authorization", `Bearer ${settings.token}`);
      }
      const proxy = proxyFor(url);
      const dispatcher = proxy && (await proxyDispatcher(proxy, url.protocol === "https:"));
      if (dispatcher) proxies.push(dispatcher);
      const { method } = request;
      const response = await network(url, () =>
        fetch(url, { method, headers, redirect: "manual", signal: connection, ...(dispatcher && { dispatcher }) }),
      );
      const location = response.headers.get("location");
      const next = isRedirect(response.status) && location !== null ? new URL(location, url) : undefined;
      if (next === undefined || (request.method === "HEAD" && next.origin !== url.origin)) {
        if (next === undefined && !response.ok) {
          throw refusal(settings, subject, response, url);
        }
        const chunks = readChunks(response, (step) => network(url, step));
        return await use({ status: response.status, headers: response.headers, chunks: () => chunks });
      }
      await response.body?.cancel();
      url = next;
      trusted &&= url.origin === home;
    }
    throw new VlRewardError("download_failed", `${describe(subject)}: ${url.host} redirects in circles.`);
  } finally {
    clearTimeout(silence);
    closing.abort();
    await Promise.all(proxies.map((proxy) => proxy.destroy()));
  }
}

/**
 * Runs `attempt` until it does not end in HubUnreachable, waiting in between as `settings.retryDelays` says. An attempt
 * that moved `progress` forward before it failed starts the count anew, so a large file survives any number of cuts.
 */
export async function persist<T>(
  settings: HubSettings,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  for (let failures = 0; ; failures++) {
    const before = progress();
    try {
      return await attempt();
    } catch (error) {
      if (progress() > before) {
        failures = 0;
      }
      const delay = settings.retryDelays[failures];
      if (!(error instanceof HubUnreachable) || delay === undefined) {
        throw error;
      }
      await pause(delay, signal);
    }
  }
}

async function* readChunks(
  response: Response,
  network: <R>(step: () => Promise<R>) => Promise<R>,
): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined) {
    return;
  }
  for (;;) {
    const { done, value } = await network(() => reader.read());
    if (done) {
      return;
    }
    yield value;
  }
}

/** What a message adds where a request goes through a proxy. */
function through(url: URL): string {
  const proxy = proxyFor(url);
  return proxy === undefined ? "" : ` through the proxy ${proxy.host}`;
}

function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}

/** What a status of 4xx or 5xx means, in words that say what to do. */
function refusal(settings: HubSettings, subject: Subject, response: Response, url: URL): VlRewardError {
  const { status } = response;
  const what = describe(subject);
  const page = `${settings.endpoint}/${subject.id}`;
  const said = response.headers.get("x-error-message");
  const quoted = said === null ? `${status}` : `${status}: ${said}`;
  if (status === 429 || status >= 500) {
    return new HubUnreachable(`${what}: ${url.host} answered ${quoted}. Try again later.`);
  }
  switch (response.headers.get("x-error-code")) {
    case "GatedRepo":
      return new VlRewardError(
        "download_failed",
        `${subject.id} is gated. Accept its licence at ${page}, then ${
          settings.token === undefined ? "set HF_TOKEN to a token of" : "check that the token (HF_TOKEN) belongs to"
        } the account that accepted it.`,
      );
    case "RevisionNotFound":
      return new VlRewardError(
        "model_not_found",
        `${subject.id} has no revision "${subject.revision}" at ${settings.endpoint}. Give a branch, a tag or a full commit hash.`,
      );
    case "EntryNotFound":
      return new VlRewardError("download_failed", `${what}: the hub lists this file but does not have it (${quoted}).`);
  }
  if (url.origin !== new URL(settings.endpoint).origin) {
    return new VlRewardError("download_failed", `${what}: the storage server ${url.host} answered ${quoted}.`);
  }
  // A hub answers 401 for what does not exist, too, lest the names of private models be guessed.
  if (status === 404 || (status === 401 && settings.token === undefined)) {
    return new VlRewardError(
      "model_not_found",
      `There is no model ${subject.id} at ${settings.endpoint}, or it is private (${quoted}). Check the name${
        settings.token === undefined ? "; for a private model set HF_TOKEN" : " and the rights of the token (HF_TOKEN)"
      }.`,
    );
  }
  if (status === 401 || status === 403) {
    return new VlRewardError(
      "download_failed",
      `${what}: ${url.host} answered ${quoted}. ${
        settings.token === undefined
          ? "Set HF_TOKEN to a token that may read this model."
          : "The token (HF_TOKEN) is not valid or may not read this model."
      }`,
    );
  }
  return new VlRewardError("download_failed", `${what}: ${url.host} answered ${quoted}.`);
}

export function describe({ id, revision, file }: Subject): string {
  return file === undefined ? `${id}@${revision}` : `${file} of ${id}@${revision}`;
}

/** The innermost cause says what happened; `fetch` itself only says that it failed. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) {
    return String(error);
  }
  if (error.cause instanceof Error) {
    return reason(error.cause);
  }
  return error.message || ("code" in error ? String(error.code) : error.name);
}

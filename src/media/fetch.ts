/**
 * @file The bytes behind an http(s) address, within a policy's limits of time, size and redirects, through the proxy that the
 * environment names for it.
 *
 * Where only public servers are allowed, the connection has to go to the very address that was checked: a second look at
 * the name could be answered differently (DNS rebinding). So a proxy is not given the name but that address, to which it
 * makes a tunnel.
 */
import type { LookupAddress } from "node:dns";
import { lookup as resolveName } from "node:dns/promises";
import { STATUS_CODES } from "node:http";
import type { LookupFunction } from "node:net";
import type { Dispatcher } from "undici";
import { VlRewardError } from "../errors.ts";
import { proxyDispatcher, proxyFor } from "../net/proxy.ts";
import { mediaName } from "./name.ts";
import { assertHostAllowed, forbidden, type MediaPolicy, tooLarge } from "./policy.ts";
import { hostOf, isPublicAddress, refusalOf } from "./public-address.ts";

/** What the network is to a fetch: how names resolve in it, which of its addresses are public, what leads out of it. */
export interface Network {
  resolve(hostname: string): Promise<readonly LookupAddress[]>;
  isPublic(address: string): boolean;
  proxyFor(url: URL): URL | undefined;
}

const internet: Network = {
  resolve: (hostname) => resolveName(hostname, { all: true }),
  isPublic: isPublicAddress,
  proxyFor,
};

/**
 * Rejects with `media_fetch_failed`, `media_too_large` or `media_forbidden`; with the caller's reason when its signal
 * aborts.
 */
export async function fetchBytes(
  address: string,
  policy: MediaPolicy,
  caller?: AbortSignal,
  network: Network = internet,
): Promise<Uint8Array> {
  const { fetchSeconds } = policy.limits;
  const timeout = AbortSignal.timeout(Math.ceil(1000 * fetchSeconds));
  const signal = caller === undefined ? timeout : AbortSignal.any([caller, timeout]);
  try {
    return await followRedirects(address, policy, network, signal);
  } catch (cause) {
    if (cause instanceof VlRewardError) throw cause;
    caller?.throwIfAborted();
    const reason = timeout.aborted ? `no complete answer within ${fetchSeconds} s` : networkReason(cause);
    throw fetchFailed(address, reason, cause);
  }
}

/** The body of the first answer that is no redirect. */
async function followRedirects(
  address: string,
  policy: MediaPolicy,
  network: Network,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { addresses, limits } = policy;
  let url = new URL(address);
  for (let redirects = 0; redirects <= limits.maxRedirects; redirects++) {
    const name =
      redirects === 0 ? mediaName(address) : `${mediaName(address)} redirects to ${mediaName(url.href)}, which`;
    if (url.username !== "" || url.password !== "") {
      throw fetchFailed(address, "it contains a user name or password, which are sent to no one; leave them away");
    }
    if (typeof addresses === "object") assertHostAllowed(url.href, name, addresses.hosts);
    const guard = addresses === "public" ? { network, name } : undefined;
    const answered = await ask(url, signal, network.proxyFor(url), guard, async (answer) => {
      const location = [answer.headers.location].flat()[0];
      const redirected = location !== undefined && [301, 302, 303, 307, 308].includes(answer.statusCode);
      return redirected ? new URL(location, url) : await readBody(answer, address, policy);
    });
    if (!(answered instanceof URL)) return answered;
    if (!/^https?:$/.test(answered.protocol)) {
      throw fetchFailed(address, `it redirects to ${mediaName(answered.href)}; expected an http(s) address`);
    }
    url = answered;
  }
  throw fetchFailed(address, `it redirects more than ${limits.maxRedirects} times`);
}

/** Lets through what leads to public servers; `name` begins the sentence about what does not. */
interface Guard {
  readonly network: Network;
  readonly name: string;
}

/** Sends one request and hands its answer to `use`, after which the connection is closed. */
async function ask<T>(
  url: URL,
  signal: AbortSignal,
  proxy: URL | undefined,
  guard: Guard | undefined,
  use: (answer: Dispatcher.ResponseData) => Promise<T>,
): Promise<T> {
  const refusal = guard && refusalOf(url, guard.network.isPublic);
  if (guard && refusal !== undefined) throw notPublic(guard, refusal);
  const { Agent, request } = await import("undici");
  // Connections that others opened, unguarded, are not taken over: each request has its own.
  const dispatcher =
    proxy === undefined
      ? new Agent({ connect: guard ? { lookup: guardedLookup(guard) } : {} })
      : await proxyDispatcher(proxy, guard !== undefined || url.protocol === "https:", hostOf(url));
  try {
    const target = proxy && guard ? await checkedAddress(url, guard) : url;
    const headers = { host: url.host, accept: "*/*", "accept-encoding": "identity", "user-agent": "vl-reward" };
    const answer = await request(target, { dispatcher, signal, headers }).catch((cause: unknown) => {
      if (proxy === undefined || cause instanceof VlRewardError || signal.aborted) throw cause;
      throw new Error(`through the proxy ${proxy.host}: ${networkReason(cause)}`, { cause });
    });
    answer.body.on("error", () => {}); // of what is left when the connection is closed
    return await use(answer);
  } finally {
    await dispatcher.destroy();
  }
}

/** Resolves a name to addresses that are all public, once: what comes out of here is what is connected to. */
async function checked(hostname: string, guard: Guard): Promise<readonly [LookupAddress, ...LookupAddress[]]> {
  const [first, ...others] = await guard.network.resolve(hostname);
  if (first && [first, ...others].every(({ address }) => guard.network.isPublic(address))) return [first, ...others];
  throw notPublic(guard, "leads to a server that is not public");
}

function guardedLookup(guard: Guard): LookupFunction {
  return (hostname, { all }, callback) => {
    checked(hostname, guard).then(
      (found) => (all ? callback(null, [...found]) : callback(null, found[0].address, found[0].family)),
      (error: NodeJS.ErrnoException) => callback(error, "", 0),
    );
  };
}

/** The address with its name resolved and checked, for a proxy that would otherwise resolve it anew. */
async function checkedAddress(url: URL, guard: Guard): Promise<URL> {
  const [{ address, family }] = await checked(hostOf(url), guard);
  const target = new URL(url);
  target.hostname = family === 6 ? `[${address}]` : address;
  return target;
}

/** Does not tell which address was found: that would let a stranger ask for the names of this network. */
const notPublic = ({ name }: Guard, refusal: string): VlRewardError =>
  forbidden(
    `${name} ${refusal}, and the media policy allows public web servers only`,
    'send a data URL, or set addresses to "any"',
  );

async function readBody(
  answer: Dispatcher.ResponseData,
  address: string,
  { limits }: MediaPolicy,
): Promise<Uint8Array> {
  const { maxBytes } = limits;
  const { statusCode, headers, body } = answer;
  if (statusCode < 200 || statusCode > 299) {
    throw fetchFailed(address, `the server answered ${statusCode} ${STATUS_CODES[statusCode] ?? ""}`.trimEnd());
  }
  const encoding = headers["content-encoding"] ?? "identity";
  if (encoding !== "identity") {
    throw fetchFailed(address, `the server sent it compressed (${encoding}); expected the file as it is`);
  }
  const announced = Number(headers["content-length"] ?? 0);
  if (announced > maxBytes) throw tooLarge(address, `${announced} bytes`, maxBytes);
  const chunks: Uint8Array[] = [];
  let received = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    received += chunk.length;
    if (received > maxBytes) throw tooLarge(address, `more than ${maxBytes} bytes`, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, received);
}

/** Where several addresses of a name were tried, what each of them said. */
function networkReason(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(networkReason).join("; ");
  if (!(error instanceof Error)) return String(error);
  const broken = "code" in error && error.code === "UND_ERR_SOCKET";
  return broken ? "the connection broke off" : error.message;
}

function fetchFailed(address: string, reason: string, cause?: unknown): VlRewardError {
  return new VlRewardError("media_fetch_failed", `cannot fetch ${mediaName(address)}: ${reason}`, { cause });
}

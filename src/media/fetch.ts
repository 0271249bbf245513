/**
 * @file The bytes behind an http(s) address, within a policy's limits of time, size and redirects.
 *
 * Requests are Node's own, not `fetch`'s: where only public servers are allowed, the connection has to go to the very
 * address that was checked. A second look at the name could be answered differently (DNS rebinding).
 */
import type { LookupAddress } from "node:dns";
import { lookup as resolveName } from "node:dns/promises";
import { type IncomingMessage, type RequestOptions, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { VlRewardError } from "../errors.ts";
import { mediaName } from "./name.ts";
import { forbidden, type MediaPolicy, tooLarge } from "./policy.ts";
import { isPublicAddress, refusalOf } from "./public-address.ts";

/** What the network is to a fetch: how names resolve in it, and which of its addresses are public. */
export interface Network {
  resolve(hostname: string): Promise<readonly LookupAddress[]>;
  isPublic(address: string): boolean;
}

const internet: Network = { resolve: (hostname) => resolveName(hostname, { all: true }), isPublic: isPublicAddress };

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
    return await readBody(await followRedirects(address, policy, network, signal), address, policy);
  } catch (cause) {
    if (cause instanceof VlRewardError) throw cause;
    caller?.throwIfAborted();
    const reason = timeout.aborted ? `no complete answer within ${fetchSeconds} s` : networkReason(cause);
    throw fetchFailed(address, reason, cause);
  }
}

/** The first answer that is no redirect. */
async function followRedirects(
  address: string,
  { addresses, limits }: MediaPolicy,
  network: Network,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  let url = new URL(address);
  for (let redirects = 0; redirects <= limits.maxRedirects; redirects++) {
    const name =
      redirects === 0 ? mediaName(address) : `${mediaName(address)} redirects to ${mediaName(url.href)}, which`;
    if (url.username !== "" || url.password !== "") {
      throw fetchFailed(address, "it contains a user name or password, which are sent to no one; leave them away");
    }
    const guard = addresses === "public" ? { network, name } : undefined;
    const answer = await ask(url, signal, guard);
    const { location } = answer.headers;
    if (location === undefined || ![301, 302, 303, 307, 308].includes(answer.statusCode ?? 0)) return answer;
    answer.destroy();
    const next = new URL(location, url);
    if (!/^https?:$/.test(next.protocol)) {
      throw fetchFailed(address, `it redirects to ${mediaName(next.href)}; expected an http(s) address`);
    }
    url = next;
  }
  throw fetchFailed(address, `it redirects more than ${limits.maxRedirects} times`);
}

/** Lets through what leads to public servers; `name` begins the sentence about what does not. */
interface Guard {
  readonly network: Network;
  readonly name: string;
}

/** One request, answered. An answer that is not read to its end has to be destroyed. */
async function ask(url: URL, signal: AbortSignal, guard: Guard | undefined): Promise<IncomingMessage> {
  const refusal = guard && refusalOf(url, guard.network.isPublic);
  if (guard && refusal !== undefined) throw notPublic(guard, refusal);
  const options: RequestOptions = {
    agent: false, // connections that others opened, unguarded, are not taken over
    signal,
    headers: { accept: "*/*", "accept-encoding": "identity", "user-agent": "vl-reward" },
    ...(guard && { lookup: guardedLookup(guard) }),
  };
  return new Promise((resolve, reject) => {
    const request = url.protocol === "https:" ? requestHttps(url, options) : requestHttp(url, options);
    request.once("response", resolve);
    request.on("error", reject);
    request.once("close", () => reject(new Error("the connection broke off"))); // all that an upgrade comes to
    request.end();
  });
}

/** Resolves a name to addresses that are all public, once: what comes out of here is what is connected to. */
function guardedLookup(guard: Guard): NonNullable<RequestOptions["lookup"]> {
  return (hostname, { all }, callback) => {
    guard.network.resolve(hostname).then(
      (found) => {
        const [first] = found;
        if (!first || !found.every(({ address }) => guard.network.isPublic(address))) {
          callback(notPublic(guard, "leads to a server that is not public"), "", 0);
        } else if (all) callback(null, [...found]);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, "", 0),
    );
  };
}

/** Does not tell which address was found: that would let a stranger ask for the names of this network. */
const notPublic = ({ name }: Guard, refusal: string): VlRewardError =>
  forbidden(
    `${name} ${refusal}, and the media policy allows public web servers only`,
    'send a data URL, or set addresses to "any"',
  );

async function readBody(answer: IncomingMessage, address: string, { limits }: MediaPolicy): Promise<Uint8Array> {
  const { maxBytes } = limits;
  const { statusCode = 0, statusMessage = "", headers } = answer;
  try {
    if (statusCode < 200 || statusCode > 299) {
      throw fetchFailed(address, `the server answered ${statusCode} ${statusMessage}`.trimEnd());
    }
    const encoding = headers["content-encoding"] ?? "identity";
    if (encoding !== "identity") {
      throw fetchFailed(address, `the server sent it compressed (${encoding}); expected the file as it is`);
    }
    const announced = Number(headers["content-length"] ?? 0);
    if (announced > maxBytes) throw tooLarge(address, `${announced} bytes`, maxBytes);
    const chunks: Uint8Array[] = [];
    let received = 0;
    const body: AsyncIterable<Uint8Array> = answer;
    for await (const chunk of body) {
      received += chunk.length;
      if (received > maxBytes) throw tooLarge(address, `more than ${maxBytes} bytes`, maxBytes);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, received);
  } finally {
    answer.destroy(); // closes the connection where something is left
  }
}

/** Where several addresses of a name were tried, what each of them said. */
function networkReason(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(networkReason).join("; ");
  const message = error instanceof Error ? error.message : String(error);
  return message === "aborted" ? "the connection broke off" : message;
}

function fetchFailed(address: string, reason: string, cause?: unknown): VlRewardError {
  return new VlRewardError("media_fetch_failed", `cannot fetch ${mediaName(address)}: ${reason}`, { cause });
}

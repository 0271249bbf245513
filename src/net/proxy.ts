/**
 * @file Which proxy a request goes through, as the environment says: `http_proxy`, `https_proxy`, `all_proxy` and
 * `no_proxy`, or the same in capitals, with the meaning that curl and Python's requests give them.
 */
import { BlockList, isIP } from "node:net";
import type { ProxyAgent } from "undici";
import { VlRewardError } from "../errors.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for an http(s) address; undefined where the server is asked itself. Throws `usage` for a variable that names
 * none.
 */
export function proxyFor(url: URL, env: Environment = process.env): URL | undefined {
  const scheme = url.protocol.slice(0, -1);
  const found = [`${scheme}_proxy`, "all_proxy"].map((name) => variable(name, env)).find((one) => one !== undefined);
  return found === undefined || isExempt(url, variable("no_proxy", env)?.value ?? "") ? undefined : readProxy(found);
}

/**
 * Sends requests through a proxy.
 *
 * @param tunnel also those to http addresses, which the proxy then does not read
 * @param host the name that a server's certificate has to be for, where requests are sent to an IP address
 */
export async function proxyDispatcher(proxy: URL, tunnel: boolean, host?: string): Promise<ProxyAgent> {
  const { ProxyAgent } = await import("undici");
  const user = [proxy.username, proxy.password].map(decodeURIComponent).join(":");
  const socks = proxy.protocol === "socks5:";
  return new ProxyAgent({
    uri: proxy.href,
    proxyTunnel: tunnel,
    ...(user !== ":" && !socks && { token: `Basic ${Buffer.from(user).toString("base64")}` }),
    ...(host !== undefined && isIP(host) === 0 && { requestTls: { servername: host } }),
  });
}

interface Variable {
  readonly name: string;
  readonly value: string;
}

/** Small letters come first; an empty variable is none. */
function variable(lowerName: string, env: Environment): Variable | undefined {
  for (const name of [lowerName, lowerName.toUpperCase()]) {
    const value = env[name]?.trim();
    if (value) return { name, value };
  }
  return undefined;
}

const schemes: Readonly<Record<string, string>> = {
  "http:": "http:",
  "https:": "https:",
  "socks5:": "socks5:",
  "socks5h:": "socks5:", // the proxy resolves names either way
};

/** An address may lack its scheme, which is http then. No message repeats the value: there may be a password in it. */
function readProxy({ name, value }: Variable): URL {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `http://${value}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const scheme = url && schemes[url.protocol];
  if (url && scheme !== undefined && url.hostname !== "") return new URL(text.replace(/^[^:]+:/, scheme));
  throw new VlRewardError(
    "usage",
    `${name} does not name a proxy that can be used; expected an address like http://proxy.example:3128 or socks5://proxy.example:1080`,
  );
}

/** Whether a server is asked itself: `*`, names with all below them, addresses and networks of addresses, each with a port or not. */
function isExempt(url: URL, list: string): boolean {
  const host = hostOf(url.hostname);
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return list
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .some((entry) => {
      if (entry === "*") return true;
      if (isInNetwork(host, entry)) return true;
      const [, name = entry, ownPort] = /^(.*?[^:\]]|\[.*\]):(\d+)$/.exec(entry) ?? [];
      const wanted = hostOf(name).replace(/^\*?\./, "");
      return (ownPort ?? port) === port && (host === wanted || (isIP(host) === 0 && host.endsWith(`.${wanted}`)));
    });
}

const hostOf = (name: string): string =>
  name
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");

/** `10.0.0.0/8`, `fd00::/8` */
function isInNetwork(host: string, entry: string): boolean {
  const [, network = "", bits] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? [];
  const family = isIP(network);
  if (family === 0 || isIP(host) !== family || Number(bits) > (family === 4 ? 32 : 128)) return false;
  const type = family === 4 ? "ipv4" : "ipv6";
  const block = new BlockList();
  block.addSubnet(network, Number(bits), type);
  return block.check(host, type);
}

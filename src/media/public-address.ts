/**
 * @file Which servers are public: those that anyone reaches from anywhere. All others, of this machine, its network or its
 * cloud, answer to whoever sits where this process does, and a record must not borrow its place (SSRF).
 *
 * After the IANA registries of special-purpose addresses (RFC 6890), stricter where they are: what serves protocols of the
 * network itself (anycast of PCP, AMT, AS112, 6to4) is refused too. Of IPv6 only what is handed out (2000::/3) is public.
 */
import { BlockList, isIP } from "node:net";

const notPublic = blockListOf({
  ipv4: [
    "0.0.0.0/8", // this network; 0.0.0.0 connects to this machine
    "10.0.0.0/8", // private
    "100.64.0.0/10", // shared by a provider's customers (CGNAT); metadata of Alibaba Cloud
    "127.0.0.0/8", // this machine
    "168.63.129.16/32", // Azure's host, which looks public
    "169.254.0.0/16", // link-local; metadata of most clouds
    "172.16.0.0/12", // private
    "192.0.0.0/24", // protocol assignments; metadata of Oracle Cloud
    "192.0.2.0/24", // documentation
    "192.31.196.0/24", // AS112
    "192.52.193.0/24", // AMT
    "192.88.99.0/24", // 6to4 relays
    "192.168.0.0/16", // private
    "192.175.48.0/24", // AS112
    "198.18.0.0/15", // benchmarks
    "198.51.100.0/24", // documentation
    "203.0.113.0/24", // documentation
    "224.0.0.0/4", // multicast
    "240.0.0.0/4", // reserved, broadcast
  ],
  ipv6: [
    "2001::/23", // protocol assignments, Teredo among them
    "2001:db8::/32", // documentation
    "2002::/16", // 6to4: an IPv4 address inside, and relays that no one runs any more
    "2620:4f:8000::/48", // AS112
    "3fff::/20", // documentation
  ],
});
const handedOut = blockListOf({ ipv4: [], ipv6: ["2000::/3"] });
const translated = blockListOf({ ipv4: [], ipv6: ["64:ff9b::/96"] });

/** Whether an IP address, as text, is a public one. Not so: names, and what is no address at all. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 4) return !notPublic.check(address, "ipv4");
  if (isIP(address) !== 6 || address.includes("%")) return false; // a zone names an interface of this machine
  // Networks without IPv4 have names resolve to translated addresses (NAT64): what counts is the one inside.
  if (translated.check(address, "ipv6")) return isPublicAddress(lastFourBytes(address));
  return handedOut.check(address, "ipv6") && !notPublic.check(address, "ipv6");
}

/** Names that are nobody's in public: of this machine, this network (RFC 6761, 6762, 8375), a cloud's inside. */
const localName = /(^|\.)(localhost|local|internal|home\.arpa)\.?$/i;

/**
 * Why an address is refused before its name is resolved, as the end of a sentence that begins with the address; undefined
 * where nothing speaks against it. Spellings of IPv4 (octal, hexadecimal, one number) are plain once URL has read them.
 */
export function refusalOf(url: URL, isPublic: (address: string) => boolean): string | undefined {
  const host = hostOf(url);
  if (isIP(host) === 0 ? localName.test(host) : !isPublic(host)) return "is not the address of a public server";
  const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  if (port < 1024 && port !== 80 && port !== 443) return `names port ${port}, which is not one of web servers`;
  return undefined;
}

/** A URL writes IPv6 addresses in brackets. */
export const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, "");

function blockListOf(ranges: Readonly<Record<"ipv4" | "ipv6", readonly string[]>>): BlockList {
  const list = new BlockList();
  for (const family of ["ipv4", "ipv6"] as const) {
    for (const range of ranges[family]) {
      const [network = "", prefix] = range.split("/");
      list.addSubnet(network, Number(prefix), family);
    }
  }
  return list;
}

/** The IPv4 address at the end of an IPv6 address, however that is written. */
function lastFourBytes(address: string): string {
  const groups = new URL(`http://[${address}]/`).hostname.slice(1, -1).split(":"); // in hexadecimal, shortened
  const [high, low] = groups.slice(-2).map((group) => Number.parseInt(group || "0", 16));
  return [high ?? 0, low ?? 0].flatMap((group) => [group >> 8, group & 0xff]).join(".");
}

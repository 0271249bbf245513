import { describe, expect, test } from "vitest";
import { isPublicAddress, refusalOf } from "./public-address.ts";

/**
 * The IANA registries of special-purpose addresses (RFC 6890, as of 2025) and multicast: a range, its last address before
 * and its first one after it, where these are public.
 */
const ranges = [
  ["0.0.0.0", "0.255.255.255", undefined, "1.0.0.0"],
  ["10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"],
  ["100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"],
  ["127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"],
  ["169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"],
  ["172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"],
  ["192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"],
  ["192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"],
  ["192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"],
  ["192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"],
  ["192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"],
  ["192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"],
  ["192.175.48.0", "192.175.48.255", "192.175.47.255", "192.175.49.0"],
  ["198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"],
  ["198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"],
  ["203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"],
  ["224.0.0.0", "239.255.255.255", "223.255.255.255", undefined],
  ["240.0.0.0", "255.255.255.255", undefined, undefined],
  ["::", "::", undefined, undefined],
  ["::1", "::1", undefined, undefined],
  ["::ffff:0:0", "::ffff:ffff:ffff", undefined, undefined],
  ["64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", undefined, undefined],
  ["100::", "100::ffff:ffff:ffff:ffff", undefined, undefined],
  ["100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", undefined, undefined],
  ["2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"],
  ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"],
  ["2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"],
  ["2620:4f:8000::", "2620:4f:8000:ffff::", "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"],
  ["3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"],
  ["5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", undefined, undefined],
  ["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", undefined, undefined],
  ["fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", undefined, undefined],
  ["fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", undefined, undefined],
  ["ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", undefined, undefined],
] as const;

test.each(ranges)("%s to %s is not public, its neighbours are", (first, last, before, after) => {
  expect([first, last].map(isPublicAddress)).toEqual([false, false]);
  const neighbours = [before, after].filter((address) => address !== undefined);
  expect(neighbours.filter(isPublicAddress)).toEqual(neighbours);
});

test.each([
  ["8.8.8.8", true],
  ["93.184.216.34", true],
  ["2606:2800:220:1:248:1893:25c8:1946", true],
  ["2000::", true],
  ["1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false], // below what is handed out
  ["3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true],
  ["4000::", false], // above it
  // Metadata of clouds: most of them, Alibaba, Oracle, Azure, AWS over IPv6, AWS tasks.
  ["169.254.169.254", false],
  ["100.100.100.200", false],
  ["192.0.0.192", false],
  ["168.63.129.16", false],
  ["168.63.129.15", true],
  ["168.63.129.17", true],
  ["fd00:ec2::254", false],
  ["169.254.170.2", false],
  // IPv4 inside IPv6: mapped, compatible, translated, 6to4, Teredo.
  ["::ffff:127.0.0.1", false],
  ["::ffff:8.8.8.8", false],
  ["::127.0.0.1", false],
  ["64:ff9b::8.8.8.8", true],
  ["64:ff9b::808:808", true],
  ["64:ff9b:0:0:0:0:0808:0808", true],
  ["64:ff9b::", false],
  ["64:ff9b::1", false],
  ["64:ff9b::127.0.0.1", false],
  ["64:ff9b::10.0.0.0", false],
  ["64:ff9b::a9fe:a9fe", false],
  ["64:ff9b::172.15.255.255", true],
  ["64:ff9b::172.16.0.0", false],
  ["64:ff9b:0:0:0:1:808:808", false],
  ["2002:7f00:1::", false],
  ["2002:c0a8:101::1", false],
  ["2001:0:53aa:64c:0:fff8:3f57:fefe", false],
  ["fe80::1%eth0", false],
  ["2606:2800:220:1:248:1893:25c8:1946%1", false],
  ["example.com", false],
  ["", false],
] as const)("%s: public is %s", (address, isPublic) => {
  expect(isPublicAddress(address)).toBe(isPublic);
});

describe("addresses as they stand in records", () => {
  test.each([
    // Spellings of 127.0.0.1, 10.0.0.1 and 169.254.169.254.
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://%31%32%37.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://012.0.0.1/",
    "http://0/",
    "http:169.254.169.254",
    "http:\\\\169.254.169.254\\",
    "http://[::1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:10.0.0.1]/",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://a.localhost/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://printer.local/",
    "http://router.home.arpa/",
  ])("%s is refused", (address) => {
    expect(refusalOf(new URL(address), isPublicAddress)).toBe("is not the address of a public server");
  });

  test.each([22, 25, 1, 1023])("port %i is refused", (port) => {
    expect(refusalOf(new URL(`http://example.com:${port}/`), isPublicAddress)).toContain(`port ${port}`);
  });

  test.each([
    "http://example.com/",
    "https://example.com/",
    "http://example.com:443/",
    "https://example.com:80/",
    "http://example.com:8080/",
    "http://8.8.8.8/",
    "http://[2606:2800:220:1:248:1893:25c8:1946]/",
    "http://localhost.example.com/",
    "http://notlocalhost/",
  ])("%s is not refused before its name is resolved", (address) => {
    expect(refusalOf(new URL(address), isPublicAddress)).toBeUndefined();
  });
});

import { expect, test } from "vitest";
import { proxyFor } from "./proxy.ts";

const chosen = (address: string, env: Record<string, string>): string | undefined =>
  proxyFor(new URL(address), env)?.href;

test.each([
  ["http://a.example/x", { HTTP_PROXY: "http://p.example:3128" }, "http://p.example:3128/"],
  ["https://a.example/x", { HTTP_PROXY: "http://p.example:3128" }, undefined],
  ["https://a.example/x", { HTTPS_PROXY: "http://p.example:3128" }, "http://p.example:3128/"],
  ["https://a.example/x", { ALL_PROXY: "p.example:3128" }, "http://p.example:3128/"],
  ["http://a.example/x", { all_proxy: "http://b.example", http_proxy: "http://c.example" }, "http://c.example/"],
  ["http://a.example/x", { HTTP_PROXY: "http://B.example", http_proxy: "http://c.example" }, "http://c.example/"],
  ["http://a.example/x", { HTTP_PROXY: "http://b.example", http_proxy: "" }, "http://b.example/"],
  ["http://a.example/x", { ALL_PROXY: "socks5h://p.example:1080" }, "socks5://p.example:1080"],
  ["http://a.example/x", { HTTP_PROXY: "https://me:secret@p.example" }, "https://me:secret@p.example/"],
  ["http://a.example/x", {}, undefined],
] as const)("%s with %j goes through %s", (address, env, proxy) => {
  expect(chosen(address, env)).toBe(proxy);
});

test.each([
  ["*", ["http://a.example/", "http://10.0.0.1/"], []],
  [
    "b.example, .c.example *.d.example",
    ["http://b.example", "http://x.b.example", "http://c.example", "http://x.d.example"],
    ["http://ab.example", "http://example"],
  ],
  ["b.example:8080", ["http://b.example:8080"], ["http://b.example", "https://b.example"]],
  ["b.example:443", ["https://b.example"], ["http://b.example"]],
  ["B.Example.", ["http://b.example", "http://b.example./"], []],
  [
    "127.0.0.1,::1,[fd00::1]:80",
    ["http://127.0.0.1:99", "http://[::1]", "http://[fd00::1]"],
    ["http://127.0.0.2", "http://[fd00::1]:81"],
  ],
  [
    "10.0.0.0/8,fd00::/8",
    ["http://10.1.2.3", "http://[fd12::1]"],
    ["http://11.0.0.1", "http://[fe80::1]", "http://ten.example"],
  ],
  ["0.1", [], ["http://10.0.0.1"]], // an address has no domains above it
  [" , ,", [], ["http://a.example"]],
] as const)("no_proxy %s", (list, exempt, others) => {
  for (const name of ["no_proxy", "NO_PROXY"]) {
    const env = { ALL_PROXY: "http://p.example", [name]: list };
    for (const address of exempt) expect(chosen(address, env), address).toBeUndefined();
    for (const address of others) expect(chosen(address, env), address).toBe("http://p.example/");
  }
});

test("a variable that names no proxy is named, its value is not: there may be a password in it", () => {
  for (const value of ["ftp://me:secret@p.example", "http://", "socks4://me:secret@p.example", "me:secret@:x"]) {
    expect(() => chosen("http://a.example", { HTTP_PROXY: value })).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringMatching(/^HTTP_PROXY (?!.*secret)/) }),
    );
  }
});

/** @file Downloads through the proxy that the environment names. */
import { afterEach, expect, it, vi } from "vitest";
import { download, expectWhole, hub, useLocalHub } from "../../test/hub-download.ts";
import { serveProxy } from "../../test/local-proxy.ts";

useLocalHub();
afterEach(() => vi.unstubAllEnvs());

it("a hub that only a proxy reaches", async () => {
  const { port } = new URL(hub.endpoint);
  await using proxy = await serveProxy({ "hub.example:80": Number(port) });
  vi.stubEnv("no_proxy", "127.0.0.1"); // the storage host's name
  vi.stubEnv("http_proxy", proxy.address);
  await expectWhole(await download({ endpoint: "http://hub.example" }));
  expect(proxy.asked.length).toBeGreaterThan(0);
  expect(proxy.asked.every((line) => /^(GET|HEAD) http:\/\/hub\.example\//.test(line))).toBe(true);
});

it("a proxy that refuses is named, its password is not", async () => {
  await using proxy = await serveProxy({});
  vi.stubEnv("no_proxy", "");
  vi.stubEnv("https_proxy", proxy.address);
  await expect(download({ endpoint: "https://hub.example", retryDelays: [] })).rejects.toMatchObject({
    code: "download_failed",
    message: expect.stringMatching(
      new RegExp(`connection to hub\\.example through the proxy 127\\.0\\.0\\.1:${proxy.port} failed (?!.*p.{1,3}ss)`),
    ),
  });
  expect(proxy.asked).toEqual(["CONNECT hub.example:443"]);
});

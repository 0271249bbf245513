import type { LookupAddress } from "node:dns";
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { type LocalProxy, serveProxy } from "../../test/local-proxy.ts";
import { serve, serveBytes } from "../../test/local-server.ts";
import { fetchBytes, type Network } from "./fetch.ts";
import { localPolicy, serverPolicy } from "./policy.ts";
import { isPublicAddress } from "./public-address.ts";

const content = Buffer.from([0x89, 0x50, 0x00, 0xff]);
const send = (_: unknown, response: ServerResponse): void => void response.end(content);
const ip = (address: string): LookupAddress => ({ address, family: address.includes(":") ? 6 : 4 });
const refused = { code: "media_forbidden", message: expect.stringContaining("public") };

/**
 * This machine's network with 127.0.0.1 in the part of a public server. A name has the answers given for it, one at each
 * time that it is asked for and the last one for ever.
 */
function networkOf(names: Readonly<Record<string, readonly (readonly string[])[]>>): Network & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    proxyFor: () => undefined,
    isPublic: (address) => address === "127.0.0.1" || isPublicAddress(address),
    resolve: async (name) => {
      const answers = names[name] ?? [];
      const before = asked.filter((other) => other === name).length;
      asked.push(name);
      const answer = answers[Math.min(before, answers.length - 1)];
      if (!answer) throw new Error(`getaddrinfo ENOTFOUND ${name}`);
      return answer.map(ip);
    },
  };
}

describe("where only public servers are allowed", () => {
  test("a server of this machine gets no connection, however it is named", async () => {
    await using server = await serve(send);
    for (const host of ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::1]", "[::ffff:127.0.0.1]"]) {
      await expect(fetchBytes(`http://${host}:${server.port}/`, serverPolicy)).rejects.toMatchObject(refused);
    }
    expect(server.connections).toEqual([]);
  });

  test("a name that leads to a private address is refused, also where another one of its addresses is public", async () => {
    await using server = await serve(send, "0.0.0.0");
    const network = networkOf({
      "private.example": [["127.0.0.2"]],
      "mixed.example": [["127.0.0.1", "10.0.0.1"]],
      "six.example": [["::ffff:127.0.0.2"]],
      "nowhere.example": [[]],
    });
    for (const name of ["private", "mixed", "six", "nowhere"]) {
      const address = `http://${name}.example:${server.port}/`;
      const refusal = await fetchBytes(address, serverPolicy, undefined, network).catch((error: unknown) => error);
      expect(refusal).toMatchObject(refused);
      expect(refusal).toMatchObject({ message: expect.not.stringMatching(/127\.0|10\.0/) }); // not a way to look names up
    }
    expect(server.connections).toEqual([]);
  });

  test("a public one is fetched by its name, the file as it is", async () => {
    let headers: Record<string, unknown> = {};
    await using server = await serve((request, response) => {
      headers = request.headers;
      response.end(content);
    });
    const network = networkOf({ "pictures.example": [["127.0.0.1"]] });
    const address = `http://pictures.example:${server.port}/a.png`;
    expect(await fetchBytes(address, serverPolicy, undefined, network)).toEqual(content);
    expect(headers).toMatchObject({ host: `pictures.example:${server.port}`, "accept-encoding": "identity" });
  });

  test.each(["http", "https"])(
    "a name that is answered differently the second time leads to the checked address: %s",
    async (scheme) => {
      await using server = await serve(send, "0.0.0.0");
      const network = networkOf({ "rebinding.example": [["127.0.0.1"], ["127.0.0.2"]] });
      const fetched = fetchBytes(`${scheme}://rebinding.example:${server.port}/`, serverPolicy, undefined, network);
      if (scheme === "http") expect(await fetched).toEqual(content);
      else await expect(fetched).rejects.toMatchObject({ code: "media_fetch_failed" }); // it speaks no TLS
      expect(server.connections).toEqual(["127.0.0.1"]);
      expect(network.asked).toEqual(["rebinding.example"]);
    },
  );

  test("redirects from a public server are judged as the first address is", async () => {
    let to = "";
    await using server = await serve((request, response) => {
      if (request.url === "/") response.writeHead(302, { location: to }).end();
      else response.end(content);
    }, "0.0.0.0");
    const { port } = server;
    const network = networkOf({
      "public.example": [["127.0.0.1"]],
      "private.example": [["127.0.0.2"]],
      "rebinding.example": [["127.0.0.1"], ["127.0.0.2"]],
    });
    const from = async (name: string, location: string) => {
      to = location;
      return fetchBytes(`http://${name}.example:${port}/`, serverPolicy, undefined, network);
    };
    expect(await from("public", `http://public.example:${port}/picture`)).toEqual(content);
    const before = server.connections.length;
    const targets = [
      `http://127.0.0.2:${port}/picture`,
      `//private.example:${port}/picture`,
      `http://localhost:${port}/picture`,
      `http://[::1]:${port}/picture`,
      "http://169.254.169.254/latest/meta-data/",
      "http://metadata.google.internal/",
      "http://public.example:22/",
    ];
    for (const location of targets) {
      await expect(from("public", location)).rejects.toMatchObject({
        code: "media_forbidden",
        message: expect.stringContaining(`http://public.example:${port}/ redirects to http`),
      });
    }
    await expect(from("rebinding", "/picture")).rejects.toMatchObject(refused); // the name's second answer
    expect(server.connections.slice(before)).toEqual([...targets, "rebinding"].map(() => "127.0.0.1"));
  });

  test("a name that does not resolve is no matter of the policy", async () => {
    await expect(fetchBytes("http://none.example/", serverPolicy, undefined, networkOf({}))).rejects.toMatchObject({
      code: "media_fetch_failed",
      message: "cannot fetch http://none.example/: getaddrinfo ENOTFOUND none.example",
    });
  });
});

describe("through a proxy", () => {
  /** `networkOf` behind a proxy. */
  const behind = (proxy: LocalProxy, names: Parameters<typeof networkOf>[0] = {}) => ({
    ...networkOf(names),
    proxyFor: () => new URL(proxy.address),
  });

  test("which resolves names itself where every server is allowed", async () => {
    await using server = await serve((request, response) => {
      if (request.url === "/moved") response.writeHead(302, { location: "/picture?a=b" }).end();
      else response.end(request.headers.host);
    });
    await using proxy = await serveProxy({ "pictures.example:80": server.port });
    const fetched = await fetchBytes("http://pictures.example/moved", localPolicy, undefined, behind(proxy));
    expect(Buffer.from(fetched).toString()).toBe("pictures.example");
    expect(proxy.asked).toEqual(["GET http://pictures.example/moved", "GET http://pictures.example/picture?a=b"]);
  });

  test("which makes a tunnel for https, within which the server's own name is asked for", async () => {
    let greeting = "";
    await using secure = await serveBytes((bytes) => {
      greeting += bytes.toString("latin1");
    });
    await using proxy = await serveProxy({ "pictures.example:443": secure.port, "127.0.0.1:443": secure.port });
    const names = { "pictures.example": [["127.0.0.1"]] };
    for (const policy of [localPolicy, serverPolicy]) {
      greeting = "";
      await expect(
        fetchBytes("https://pictures.example/", policy, undefined, behind(proxy, names)),
      ).rejects.toMatchObject({ code: "media_fetch_failed" });
      expect(greeting).toContain("pictures.example"); // in the TLS greeting (SNI)
    }
    expect(proxy.asked).toEqual(["CONNECT pictures.example:443", "CONNECT 127.0.0.1:443"]);
  });

  test("which is given checked addresses, not names, where only public servers are allowed", async () => {
    await using server = await serve((request, response) => response.end(request.headers.host));
    await using proxy = await serveProxy({ "127.0.0.1:8080": server.port });
    const network = behind(proxy, { "rebinding.example": [["127.0.0.1"], ["10.0.0.1"]] });
    const fetched = await fetchBytes("http://rebinding.example:8080/", serverPolicy, undefined, network);
    expect(Buffer.from(fetched).toString()).toBe("rebinding.example:8080");
    expect(network.asked).toEqual(["rebinding.example"]);
    expect(proxy.asked).toEqual(["CONNECT 127.0.0.1:8080"]);
  });

  test("which is asked nothing for a server that is not public, redirects included", async () => {
    await using server = await serve((_, response) =>
      response.writeHead(302, { location: "http://private.example/" }).end(),
    );
    await using proxy = await serveProxy({ "127.0.0.1:80": server.port });
    const names = { "private.example": [["10.0.0.1"]], "public.example": [["127.0.0.1"]] };
    const private_ = ["http://private.example/", "http://169.254.169.254/", "http://localhost/", "http://[::1]/"];
    for (const address of private_) {
      await expect(fetchBytes(address, serverPolicy, undefined, behind(proxy, names))).rejects.toMatchObject(refused);
    }
    expect(proxy.asked).toEqual([]);
    await expect(
      fetchBytes("http://public.example/", serverPolicy, undefined, behind(proxy, names)),
    ).rejects.toMatchObject(refused);
    expect(proxy.asked).toEqual(["CONNECT 127.0.0.1:80"]);
  });

  test("which refuses, or is not there, and is named without its password", async () => {
    const proxy = await serveProxy({});
    const fetched = () => fetchBytes("https://pictures.example/", localPolicy, undefined, behind(proxy));
    const failure = {
      code: "media_fetch_failed",
      message: expect.stringMatching(
        new RegExp(
          `^cannot fetch https://pictures.example/: through the proxy 127.0.0.1:${proxy.port}: (?!.*p.{1,3}ss)`,
        ),
      ),
    };
    await expect(fetched()).rejects.toMatchObject(failure);
    await proxy[Symbol.asyncDispose]();
    await expect(fetched()).rejects.toMatchObject(failure);
  });
});

test("a user name and a password are sent to no one", async () => {
  let requests = 0;
  await using server = await serve((request, response) => {
    requests++;
    const location = `http://me:secret@127.0.0.1:${server.port}/`;
    if (request.url === "/moved") response.writeHead(302, { location }).end();
    else response.end(content);
  });
  const failure = { code: "media_fetch_failed", message: expect.stringContaining("user name") };
  const address = `http://me@127.0.0.1:${server.port}/`;
  await expect(fetchBytes(address, localPolicy)).rejects.toMatchObject(failure);
  await expect(fetchBytes(`${server.address}/moved`, localPolicy)).rejects.toMatchObject(failure);
  expect(requests).toBe(1);
});

test("an answer that is compressed all the same is refused", async () => {
  await using server = await serve((_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end("x"));
  await expect(fetchBytes(server.address, localPolicy)).rejects.toMatchObject({
    code: "media_fetch_failed",
    message: expect.stringContaining("compressed (gzip)"),
  });
});

test("an upgrade to another protocol is no answer, and nothing waits for one", async () => {
  await using server = await serve((request) => {
    const { socket } = request;
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n");
  });
  await expect(fetchBytes(server.address, localPolicy)).rejects.toMatchObject({
    code: "media_fetch_failed",
    message: expect.stringContaining("the connection broke off"),
  });
});

/**
 * @file An HTTP proxy on this machine for the length of a test, with a network of its own: names lead where the test says.
 */
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";

export interface LocalProxy extends AsyncDisposable {
  /** With a user name and a password, as it stands in a variable of the environment. */
  readonly address: string;
  readonly port: number;
  /** What it was asked, `GET http://...` or `CONNECT host:port`; a wrong password makes it `407`. */
  readonly asked: readonly string[];
}

/** @param ports of this machine, by the name and port that are asked for; others are refused */
export async function serveProxy(ports: Readonly<Record<string, number>>): Promise<LocalProxy> {
  const asked: string[] = [];
  const wanted = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;
  const server = createServer((incoming, response) => {
    const url = new URL(incoming.url ?? "");
    const allowed = incoming.headers["proxy-authorization"] === wanted;
    asked.push(allowed ? `${incoming.method} ${url.href}` : "407");
    const port = ports[`${url.hostname}:${url.port || 80}`];
    if (!allowed) response.writeHead(407).end();
    else if (port === undefined) response.writeHead(502).end();
    else {
      const { method, headers } = incoming;
      const options = { port, host: "127.0.0.1", method, path: url.pathname + url.search, headers };
      request(options, (answer) => answer.pipe(response.writeHead(answer.statusCode ?? 500, answer.headers))).end();
    }
  });
  server.on("connect", (incoming, socket, head) => {
    const allowed = incoming.headers["proxy-authorization"] === wanted;
    asked.push(allowed ? `CONNECT ${incoming.url}` : "407");
    const port = ports[incoming.url ?? ""];
    if (!allowed || port === undefined) {
      socket.end(`HTTP/1.1 ${allowed ? 403 : 407} No\r\n\r\n`);
      return;
    }
    const target = connect(port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      target.write(head);
      target.pipe(socket).pipe(target);
    });
    for (const end of [socket, target]) end.on("error", () => [socket, target].map((other) => other.destroy()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://me:p%40ss@127.0.0.1:${port}`,
    port,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * @file A server on this machine for the length of a test.
 */
import { createServer, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";

export interface LocalServer extends AsyncDisposable {
  /** As an http address, without a slash at the end. */
  readonly address: string;
  readonly port: number;
  /** For each connection that was opened, the address of this machine that it went to. */
  readonly connections: readonly string[];
}

/** @param host 0.0.0.0 listens at every IPv4 address of this machine */
export async function serve(listener: RequestListener, host = "127.0.0.1"): Promise<LocalServer> {
  const connections: string[] = [];
  const server = createServer(listener);
  server.on("connection", (socket) => connections.push(socket.localAddress ?? ""));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    port,
    connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A server that speaks no protocol: it listens to the first bytes of each connection and closes it. */
export async function serveBytes(hear: (bytes: Buffer) => void): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      hear(bytes);
      socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

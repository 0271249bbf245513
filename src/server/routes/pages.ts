/** @file The playground and its files, held in memory: no request opens a file. */

import { readdirSync, readFileSync } from "node:fs";
import { extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { FastifyPluginCallback } from "fastify";

/** Where the build puts them, from dist/server/routes as from the sources. */
export const builtPages = fileURLToPath(new URL("../../../web/dist/", import.meta.url));

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".mp4": "video/mp4",
  ".ico": "image/x-icon",
};

const policy =
  "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'";

export const pageRoutes =
  (folder = builtPages): FastifyPluginCallback =>
  (app, _options, done) => {
    for (const file of filesIn(folder)) {
      const type = types[extname(file)];
      if (type === undefined) continue;
      const bytes = readFileSync(join(folder, file));
      const isHashed = file.startsWith(`assets${sep}`);
      const answer = (_request: unknown, reply: import("fastify").FastifyReply) =>
        reply
          .type(type)
          .header("cache-control", isHashed ? "public, max-age=31536000, immutable" : "no-cache")
          .header("content-security-policy", policy)
          .header("x-content-type-options", "nosniff")
          .header("referrer-policy", "no-referrer")
          .send(bytes);
      for (const url of urlsOf(file)) app.get(url, { schema: { hide: true } }, answer);
    }
    done();
  };

function filesIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  } catch {
    return []; // not built: the server's other paths work without
  }
}

/** index.html is "/", explore.html "/explore". */
function urlsOf(file: string): string[] {
  const url = `/${file.split(sep).join("/")}`;
  if (url === "/index.html") return ["/"];
  return url.endsWith(".html") ? [url.slice(0, -".html".length)] : [url];
}

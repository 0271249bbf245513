/** @file A real Chromium, where there is one. */

import { accessSync, constants } from "node:fs";
import path from "node:path";
import { type Browser, chromium } from "playwright-core";

/** Of a Chromium or Chrome on the PATH, or CHROMIUM. */
export const chromiumPath = [
  process.env.CHROMIUM,
  ...(process.env.PATH ?? "")
    .split(path.delimiter)
    .flatMap((folder) => ["chromium", "chromium-browser", "google-chrome"].map((name) => path.join(folder, name))),
].find((file) => {
  try {
    if (!file) return false;
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
});

export function startBrowser(): Promise<Browser> {
  if (chromiumPath === undefined) throw new Error("there is no chromium: apt-get install chromium");
  return chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox"] });
}

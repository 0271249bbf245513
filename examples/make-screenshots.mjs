/**
 * @file Makes the pictures of docs/playground.md with a real browser: `npm run screenshots`, on a built clone with Chromium on the PATH.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const root = join(import.meta.dirname, "..");
const pictures = join(root, "docs", "pictures");
const port = 18_231;
mkdirSync(pictures, { recursive: true });

const server = spawn(process.execPath, ["bin/vl-reward.mjs", "serve", "--port", String(port), "--no-access-log"], {
  cwd: root,
  stdio: ["ignore", "ignore", "pipe"],
});
for await (const chunk of server.stderr) if (String(chunk).includes("Serving")) break;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 760 }, colorScheme: "light" });
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.click("text=scene 3");
  await page.check("text=Show what each token did");
  await page.waitForSelector(".tokens");
  await page.waitForTimeout(500); // bars move
  await page.screenshot({ path: join(pictures, "playground.png") });

  const lines = [
    "Which colour has the cup?",
    "How many birds are there?",
    "What does the sign say?",
    "Is the door open?",
  ].map((question, index) =>
    JSON.stringify({
      id: `pair-${index}`,
      messages: [{ role: "user", content: question }],
      chosen: ["The cup is white.", "There are three.", "It says STOP.", "No, it is shut."][index],
      rejected: ["The cup is red.", "There are five.", "It says SHOP.", "Yes, wide open."][index],
      margin: [2.4, -0.7, 1.1, 0.2][index],
    }),
  );
  const file = join(tmpdir(), "pairs.jsonl");
  writeFileSync(file, lines.join("\n"));
  await page.emulateMedia({ colorScheme: "dark" });
  await page.goto(`http://127.0.0.1:${port}/explore`);
  await page.setInputFiles("input[type=file]", file);
  await page.selectOption("select", "least");
  await page.getByRole("listbox").focus();
  for (const key of ["w", "j"]) await page.keyboard.press(key);
  await page.screenshot({ path: join(pictures, "explore.png"), clip: { x: 0, y: 0, width: 1200, height: 520 } });
} finally {
  await browser.close();
  server.kill("SIGTERM");
  await once(server, "exit");
}

/** @file The playground and the explorer in a real browser, on the real server with the embedded model. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { root, startServer, type TestServer } from "../server/serving.ts";
import { chromiumPath, startBrowser } from "./browser.ts";

describe.skipIf(chromiumPath === undefined)("pages (needs chromium)", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "vl-reward-pages-"));
  const tiny = path.join(root, "models/tiny");
  let server: TestServer;
  let browser: Browser;
  let page: Page;
  let address: string;
  const problems: string[] = [];

  beforeAll(async () => {
    server = await startServer({ models: { tiny, second: tiny } });
    address = await server.app.listen({ port: 0, host: "127.0.0.1" });
    browser = await startBrowser();
  });
  afterAll(async () => {
    await browser.close();
    await server.close();
    rmSync(folder, { recursive: true });
  });
  beforeEach(async () => {
    page = await browser.newPage();
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("request", (request) => {
      if (!request.url().startsWith(address) && !/^(data|blob):/.test(request.url())) problems.push(request.url());
    });
  });
  afterEach(async () => {
    await page.close();
    expect(problems.splice(0)).toEqual([]);
  });

  const until = <Value>(read: () => Promise<Value>, value: Value) =>
    expect.poll(read, { timeout: 30_000, interval: 50 }).toEqual(value);

  /** What a reader of the screen would stumble over. */
  async function violations(): Promise<string[]> {
    const { violations } = (await page.evaluate(`${axe.source}; axe.run()`)) as axe.AxeResults;
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" ")}`);
  }

  /** Of the cards, in their order. */
  const shown = () => page.locator(".answer .score").allTextContents();
  const wanted = (scores: readonly number[]) =>
    scores.map((score) => `${score < 0 ? "−" : "+"}${Math.abs(score).toFixed(2)}`);

  test("an example is ranked as the server ranks it, and what a person types is ranked while it is typed", async () => {
    await page.goto(address);
    await page.click("text=scene 3");
    await until(() => page.locator(".answer .score").count(), 4);
    const lines = readFileSync(path.join(root, "examples/examples.jsonl"), "utf8").trim().split("\n");
    const { messages, responses } = JSON.parse(lines.find((line) => line.includes("scene-3")) ?? "");
    const picture = readFileSync(path.join(root, "examples/pictures/scene-3.png")).toString("base64");
    messages[0].content[0].image = `data:image/png;base64,${picture}`;
    const rewards = async (answers: string[]) => {
      const body = { items: [{ messages, responses: answers }] };
      const answer = await server.app.inject({ method: "POST", url: "/v1/rewards", payload: body });
      return answer.json().data[0].scores as number[];
    };
    expect(await shown()).toEqual(wanted(await rewards(responses)));
    await page.getByRole("textbox", { name: "Answer 1" }).fill("It is red.");
    await until(shown, wanted(await rewards(["It is red.", ...responses.slice(1)])));
    await page.click("text=Best first");
    await until(() => page.locator(".place").first().textContent(), "1st");
  });

  test("each token's part, two models side by side, a link and the history", async () => {
    await page.goto(address);
    await page.click("text=text 1");
    await page.check("text=Show what each token did");
    await page.waitForSelector(".tokens");
    const [answer] = await page
      .locator("textarea[aria-label='Answer 1']")
      .evaluateAll((all) => all.map((one) => (one as unknown as { value: string }).value));
    expect(await page.locator(".tokens").first().textContent()).toBe(answer);
    await page.selectOption("label:has-text('beside') select", "second");
    await until(() => page.locator(".answer:first-child .standing").count(), 2);
    const pairs = await page.locator(".answer:first-child .score").allTextContents();
    expect(pairs[0]).toBe(pairs[1]); // the same model twice
    await page.click("text=Share");
    const field = page.getByLabel("Link, everything inside");
    await until(async () => (await field.inputValue()).startsWith(address), true);
    const link = await field.inputValue();
    const line = JSON.parse(await page.getByLabel("A line for").inputValue());
    expect(line.responses[0]).toBe(answer);
    const other = await browser.newPage();
    await other.goto(link);
    await until(() => other.locator(".answer .score").count(), 4);
    expect(await other.getByRole("textbox", { name: "Answer 1" }).inputValue()).toBe(answer);
    await other.waitForTimeout(3500); // a draft that stands for a while belongs to the history
    await other.click("text=History");
    await other.click(".history button");
    expect(await other.getByRole("textbox", { name: "Question" }).inputValue()).toContain("largest");
    await other.close();
  }, 90_000);

  test("pictures are dropped, pasted and removed; the keyboard does everything", async () => {
    await page.goto(address);
    await page.setInputFiles("input[type=file]", path.join(root, "examples/pictures/scene-1.png"));
    await page.waitForSelector(".media img");
    await page.getByRole("textbox", { name: "Question" }).fill("What do you see?");
    await page.keyboard.press("Tab");
    for (let presses = 0; presses < 30; presses++) {
      if ((await page.evaluate("document.activeElement.getAttribute('aria-label')")) === "Answer 1") break;
      await page.keyboard.press("Tab");
    }
    await page.keyboard.type("A red circle.");
    await page.waitForSelector(".answer .score");
    await page.getByLabel("Remove scene-1.png").press("Enter");
    expect(await page.locator(".media img").count()).toBe(0);
  });

  test("nothing for axe to find: light, dark, on a phone, with a dialog open", async () => {
    for (const colorScheme of ["light", "dark"] as const) {
      for (const viewport of [
        { width: 1280, height: 900 },
        { width: 360, height: 800 },
      ]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize(viewport);
        await page.goto(address);
        await page.click("text=scene 3");
        await page.check("text=Show what each token did");
        await page.waitForSelector(".tokens");
        await page.waitForTimeout(300); // bars move
        expect(await violations()).toEqual([]);
        expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
        await page.click("text=Share");
        expect(await violations()).toEqual([]);
        await page.goto(`${address}/explore`);
        expect(await violations()).toEqual([]);
      }
    }
  }, 90_000);

  test("100,000 rows: sorted by margin, marked by keys, written as pairs to train on", async () => {
    const file = path.join(folder, "pairs.jsonl");
    const pair = (index: number) => ({
      id: `p${index}`,
      messages: [{ role: "user", content: `Question ${index}` }],
      chosen: `yes ${index}`,
      rejected: `no ${index}`,
      margin: ((index * 7919) % 100_003) / 1000,
    });
    writeFileSync(file, Array.from({ length: 100_000 }, (_, index) => JSON.stringify(pair(index))).join("\n"));
    await page.goto(`${address}/explore`);
    await page.setInputFiles("input[type=file]", file);
    await until(() => page.getByRole("status").textContent(), "100,000 rows");
    expect(await page.locator(".line").count()).toBeLessThan(60);
    await page.selectOption("select", "least");
    await page.getByRole("listbox").focus();
    expect(await page.locator(".line .title").first().textContent()).toBe("Question 0");
    expect(await violations()).toEqual([]);
    for (const key of ["r", "j", "w", "j", "t"]) await page.keyboard.press(key);
    const [saved] = await Promise.all([page.waitForEvent("download"), page.click("text=Download 3 marked")]);
    const marked = path.join(folder, "marked.jsonl");
    await saved.saveAs(marked);
    const lines = readFileSync(marked, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const order = Array.from({ length: 100_000 }, (_, index) => pair(index)).toSorted((a, b) => a.margin - b.margin);
    const [right, wrong] = order;
    // In the order of the file.
    const expected = [right, { ...wrong, chosen: wrong?.rejected, rejected: wrong?.chosen }].toSorted(
      (a, b) => Number(a?.id?.slice(1)) - Number(b?.id?.slice(1)),
    );
    expect(lines).toEqual(expected);
  }, 90_000);
});

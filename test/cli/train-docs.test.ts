import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { keysAsMarkdown } from "../../src/cli/train/reference.ts";

const file = fileURLToPath(new URL("../../docs/training.md", import.meta.url));

it("docs/training.md has the keys of the schema; `npx vitest run test/cli/train-docs.test.ts -u` writes them", async () => {
  const markers = /(?<=<!-- keys -->\n).*?(?=<!-- end of keys -->)/s;
  const docs = readFileSync(file, "utf8");
  expect(docs).toMatch(markers);
  await expect(docs.replace(markers, () => `\n${keysAsMarkdown()}\n\n`)).toMatchFileSnapshot(file);
});

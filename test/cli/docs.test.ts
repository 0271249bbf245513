import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { errorCodes } from "../../src/errors.ts";

it("docs/cli.md lists every error code with its meaning, in the order of src/errors.ts", () => {
  const docs = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");
  const table = docs.slice(docs.indexOf("## Error codes"));
  const rows = [...table.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
  expect(rows).toEqual(Object.entries(errorCodes));
});

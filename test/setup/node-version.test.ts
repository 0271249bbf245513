/** @file Too old a Node, or Windows, is told so in one sentence. */
import { expect, it } from "vitest";
import { Sandbox } from "./sandbox.ts";

function check(version: string, platform: string) {
  const code = `import { requireNode } from "SETUP/node-version.mjs"; requireNode("${version}", "${platform}");`;
  return new Sandbox().spawn(code).output;
}

it.each(["20.19.0", "20.20.2", "22.0.0", "25.1.0"])("Node %s is new enough", async (version) => {
  expect(await check(version, "linux")).toMatchObject({ code: 0, stderr: "" });
});

it.each(["20.18.3", "18.20.8", "16.0.0"])("Node %s is too old", async (version) => {
  const { code, stderr, stdout } = await check(version, "linux");
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain(`needs Node 20.19 or newer; this is Node ${version}`);
});

it("Windows is sent to WSL", async () => {
  const { code, stderr } = await check("22.0.0", "win32");
  expect(code).toBe(2);
  expect(stderr).toContain("WSL");
});

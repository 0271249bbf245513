/**
 * @file The Containerfile, read as podman and docker read it: whole instructions, stages that are there, and commands that are
 * setup's own. Building it takes gigabytes; package.test.ts runs the same steps outside of a container.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { findCompiler } from "../../setup/compile.mjs";
import { torchOfCache } from "../../setup/libtorch-cache.mjs";
import { repository, Sandbox } from "./sandbox.ts";

const text = readFileSync(join(repository, "Containerfile"), "utf8");

interface Stage {
  readonly base: string;
  readonly name: string;
  readonly steps: readonly { readonly instruction: string; readonly value: string }[];
}

const instructions = [
  "ADD",
  "ARG",
  "CMD",
  "COPY",
  "ENTRYPOINT",
  "ENV",
  "EXPOSE",
  "LABEL",
  "RUN",
  "USER",
  "VOLUME",
  "WORKDIR",
];

/** Throws for what is no instruction and for a stage without a name. */
function stagesOf(file: string): Stage[] {
  const lines = file.replaceAll(/^\s*#.*\n/gm, "").replaceAll("\\\n", " ");
  const stages: { base: string; name: string; steps: { instruction: string; value: string }[] }[] = [];
  for (const line of lines.split("\n").filter((line) => line.trim() !== "")) {
    const [, instruction = "", value = ""] = /^([A-Z]+)\s+(\S.*)$/.exec(line) ?? [];
    const from = instruction === "FROM" ? /^(\S+)\s+AS\s+(\S+)$/.exec(value) : undefined;
    if (from) stages.push({ base: from[1] ?? "", name: from[2] ?? "", steps: [] });
    else if (instructions.includes(instruction)) stages.at(-1)?.steps.push({ instruction, value });
    else throw new Error(`no instruction: ${line}`);
  }
  return stages;
}

const stages = stagesOf(text);
const stage = (name: string): Stage => stages.find((stage) => stage.name === name) ?? { base: "", name, steps: [] };
/** All steps of a target, those of the stages below it first. */
const stepsOf = (name: string): Stage["steps"] => {
  const { base, steps } = stage(name);
  return stages.some((other) => other.name === base) ? [...stepsOf(base), ...steps] : steps;
};
const commandsOf = (name: string): string[] =>
  stepsOf(name)
    .filter(({ instruction }) => instruction === "RUN")
    .map(({ value }) => value);
const variablesOf = (name: string): Record<string, string> =>
  Object.fromEntries(
    stepsOf(name)
      .filter(({ instruction }) => instruction === "ENV")
      .flatMap(({ value }) => [...value.matchAll(/(\w+)=(\S+)/g)].map(([, key = "", set = ""]) => [key, set])),
  );

const variants = ["cpu", "cuda"];

describe("the Containerfile", () => {
  it("has a stage for each variant, on a Node that the package allows, and copies what is there", () => {
    expect(stages.map(({ name }) => name)).toEqual(["package", "installed", ...variants]);
    const { engines }: { engines: { node: string } } = JSON.parse(
      readFileSync(join(repository, "package.json"), "utf8"),
    );
    const oldest = Number(/\d+/.exec(engines.node)?.[0]);
    for (const { base } of stages) {
      const major = Number(/\/node:(\d+)-/.exec(base)?.[1] ?? (stages.some(({ name }) => name === base) ? oldest : 0));
      expect(major).toBeGreaterThanOrEqual(oldest);
    }
    for (const { value } of stages.flatMap(({ steps }) => steps).filter(({ instruction }) => instruction === "COPY")) {
      const from = /^--from=(\S+) /.exec(value)?.[1];
      expect(from === undefined ? value : stage(from).steps).not.toEqual([]);
    }
  });

  it("has commands that the shell can read", () => {
    for (const name of ["package", ...variants]) {
      for (const command of commandsOf(name)) {
        expect([command, spawnSync("sh", ["-n", "-c", command]).status]).toEqual([command, 0]);
      }
    }
  });

  it.skipIf(process.platform === "darwin")("installs what setup says is missing (needs Linux)", async () => {
    for (const name of variants) await checkPackages(name);
  });

  async function checkPackages(name: string): Promise<void> {
    const packages = commandsOf(name).join("\n");
    const sandbox = new Sandbox();
    sandbox.program("apt-get");
    const place = { root: sandbox.folder, env: sandbox.env() };
    const compiler = (async () => findCompiler(place.env))();
    const messages = await Promise.all([compiler, torchOfCache(place, false)].map((one) => one.then(() => "", String)));
    for (const message of messages) {
      const [, asked = "nothing"] = /apt-get install ([\w+ -]+)/.exec(message) ?? [];
      for (const one of asked.trim().split(" "))
        expect(packages).toMatch(new RegExp(`apt-get install .* ${one.replaceAll("+", "\\+")}( |$)`, "m"));
    }
  }

  it.each(variants)("%s: ends with setup's own command, and starts the program", (name) => {
    expect(commandsOf(name).at(-1)).toBe("vl-reward setup");
    expect(stepsOf(name).find(({ instruction }) => instruction === "ENTRYPOINT")?.value).toBe('["vl-reward"]');
    const { stdout } = spawnSync(process.execPath, ["bin/vl-reward.mjs", "setup", "--help"], {
      cwd: repository,
      encoding: "utf8",
    });
    expect(stdout).toContain("Usage: vl-reward setup");
  });

  it("sets variables that setup and pip read, CUDA's libraries in one variant only", () => {
    expect(variablesOf("cpu")).toEqual({
      VL_REWARD_CACHE: "/opt/vl-reward",
      PIP_INDEX_URL: "https://download.pytorch.org/whl/cpu",
    });
    expect(variablesOf("cuda")).toMatchObject({ VL_REWARD_CACHE: "/opt/vl-reward", VL_REWARD_CUDA: "1" });
  });

  it("leaves out what is made, for podman and docker", () => {
    const [podman, docker] = [".containerignore", ".dockerignore"].map((name) =>
      readFileSync(join(repository, name), "utf8"),
    );
    expect(docker).toBe(podman);
    for (const name of ["node_modules", "build", "dist"]) expect(podman?.split("\n")).toContain(name);
    expect(existsSync(join(repository, "Dockerfile"))).toBe(false);
  });
});

/**
 * @file A pretend clone with a small addon on Node's C interface, which a real compiler links to libtorch libraries that are
 * empty.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ensureAddon } from "../../setup/ensure.mjs";
import { Sandbox } from "./sandbox.ts";

export const source = `#include <node_api.h>
#include "answer.h"
NAPI_MODULE_INIT() {
  napi_value value;
  napi_create_int32(env, ANSWER, &value);
  napi_set_named_property(env, exports, "answer", value);
  return exports;
}
`;

const extension = process.platform === "darwin" ? "dylib" : "so";

export class Clone extends Sandbox {
  readonly root = this.path("clone");

  constructor() {
    super();
    this.borrow("c++");
    this.linkNodeModules("clone");
    mkdirSync(this.path("clone/src"));
    this.write("clone/native/addon.cc", source);
    this.write("clone/native/answer.h", "#define ANSWER 42\n");
  }

  /** A torch whose two libraries are real and empty. */
  torchWithLibraries(name: string, version: string, extra: string[] = []): string {
    const folder = this.torch(name, version);
    const empty = this.write("empty.cc", "");
    for (const library of ["torch_cpu", "c10"]) {
      const file = join(folder, "lib", `lib${library}.${extension}`);
      execFileSync("c++", ["-shared", "-fPIC", empty, "-o", file, ...extra]);
    }
    return folder;
  }

  async build(env: NodeJS.ProcessEnv): Promise<void> {
    await ensureAddon({ root: this.root, env });
  }

  record(): { torch: { folder: string; source: string }; addon: string } {
    return JSON.parse(readFileSync(join(this.root, "build/native.json"), "utf8"));
  }

  /** What the built addon says, asked in a process of its own. */
  answer(): number {
    const code = `console.log(require(${JSON.stringify(this.record().addon)}).answer)`;
    return Number(execFileSync(process.execPath, ["-e", code], { encoding: "utf8" }));
  }
}

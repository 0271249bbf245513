/**
 * @file The optional library for NCCL, with a real compiler, a small source, libraries that are empty and headers that say
 * only that they are there. When it is built, and that nothing else depends on it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { addonIsReady } from "../../setup/addon.mjs";
import { ensureAddon } from "../../setup/ensure.mjs";
import { ncclHeaders } from "../../setup/nccl.mjs";
import { listen, Sandbox } from "./sandbox.ts";

const headers = [
  "nvidia/cu13/include/cuda_runtime.h",
  "nvidia/cu13/include/crt/host_config.h",
  "nvidia/cu13/include/cccl/nv/target",
  "nvidia/cu13/include/cublas_v2.h",
  "nvidia/cu13/include/cusparse.h",
  "nvidia/cu13/include/cusolverDn.h",
  "nvidia/nccl/include/nccl.h",
];

class Clone extends Sandbox {
  readonly root = this.path("clone");

  constructor(source = '#include <nccl.h>\n#include <nv/target>\nextern "C" int version() { return NCCL; }\n') {
    super();
    this.borrow("c++");
    this.linkNodeModules("clone");
    mkdirSync(this.path("clone/src"));
    this.write("clone/native/addon.cc", "#include <node_api.h>\nNAPI_MODULE_INIT() { (void)env; return exports; }\n");
    this.write("clone/native/nccl/nccl-backend.cc", source);
    this.torch("site/torch", "2.13.0+cu130", "13.0");
    const empty = this.write("empty.cc", "");
    for (const library of ["torch_cpu", "c10", "torch_cuda", "c10_cuda"]) {
      execFileSync("c++", ["-shared", "-fPIC", empty, "-o", this.path("site/torch/lib", `lib${library}.so`)]);
    }
    for (const name of headers) this.write(join("site", name), name.endsWith("nccl.h") ? "#define NCCL 2\n" : "");
  }

  get place(): { root: string; env: NodeJS.ProcessEnv } {
    return { root: this.root, env: this.env({ VL_REWARD_TORCH: this.path("site/torch") }) };
  }

  record(): { addon: string; nccl?: string } {
    return JSON.parse(readFileSync(join(this.root, "build/native.json"), "utf8"));
  }
}

describe.skipIf(process.platform !== "linux")("the library for NCCL (needs Linux)", () => {
  it("is built where all headers are, and again when it is lost", async () => {
    const clone = new Clone();
    listen();
    await ensureAddon(clone.place);
    const library = clone.record().nccl ?? "";
    expect(execFileSync("nm", ["-D", library], { encoding: "utf8" })).toMatch(/ T version/);
    expect(addonIsReady(clone.place)).toBe(true);
    rmSync(library);
    await ensureAddon(clone.place);
    expect(existsSync(library)).toBe(true);
  });

  const hasHeaders = existsSync("/usr/local/cuda");
  it.skipIf(hasHeaders)(
    "is left out without a header, and built when it comes (needs a machine that has none)",
    async () => {
      const clone = new Clone();
      const said = listen();
      const last = clone.path("site/nvidia/cu13/include/crt/host_config.h");
      rmSync(last);
      await ensureAddon(clone.place);
      expect(clone.record().nccl).toBeUndefined();
      expect(said.said()).not.toMatch(/NCCL/i);
      const toolkit = dirname(dirname(dirname(clone.write("toolkit/include/crt/host_config.h", ""))));
      const env = { ...clone.place.env, CUDA_HOME: toolkit };
      await ensureAddon({ root: clone.root, env });
      expect(clone.record().nccl).toBeDefined();
    },
  );

  it("that does not compile is said, and the addon is there all the same", async () => {
    const clone = new Clone("#include <nccl.h>\n#error too new\n");
    const said = listen();
    await ensureAddon(clone.place);
    expect(said.said()).toMatch(/NCCL cannot be used between GPUs, all else can: compiling[\s\S]*too new/);
    expect(existsSync(clone.record().addon)).toBe(true);
    expect(clone.record().nccl).toBeUndefined();
    expect(addonIsReady(clone.place)).toBe(true);
  });

  it("needs a libtorch for CUDA", () => {
    const clone = new Clone();
    const torch = { folder: clone.path("site/torch"), version: "2.13.0+cpu", source: "python3" as const };
    expect(ncclHeaders({ ...torch, cuda: false }, {})).toBeUndefined();
    expect(ncclHeaders({ ...torch, cuda: true }, {})).toContain(clone.path("site/nvidia/nccl/include"));
  });
});

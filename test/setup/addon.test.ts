/**
 * @file Building the addon, with a real compiler, a small source on Node's C interface and libtorch libraries that are
 * empty. Which libtorch is taken, what leads to another build, and what is said when it fails.
 */
import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Clone, source } from "./clone.ts";
import { hasPython, listen, versionFile } from "./sandbox.ts";

describe("the addon", () => {
  it("is built once; after that no program runs until something it is made of changes", async () => {
    const clone = new Clone();
    const said = listen();
    const torch = clone.torchWithLibraries("torch", "2.13.0+cpu");
    await clone.build(clone.env({ VL_REWARD_TORCH: torch }));
    expect(clone.answer()).toBe(42);
    expect(said.said()).toMatch(/addon\.cc compiled in .* \(1 of 1\)/);

    const quiet = said.said().length;
    for (const name of ["python3", "c++", "g++", "clang++", "npm"]) clone.program(name, "process.exit(9)");
    await clone.build(clone.env());
    await clone.build(clone.env({ VL_REWARD_TORCH: torch }));
    expect(clone.calls()).toEqual([]);
    expect(said.said()).toHaveLength(quiet);

    clone.borrow("c++");
    clone.write("clone/native/answer.h", "#define ANSWER 43\n");
    await clone.build(clone.env());
    expect(clone.answer()).toBe(43);
    clone.write("clone/native/addon.cc", source.replace("ANSWER,", "ANSWER + 1,"));
    await clone.build(clone.env());
    expect(clone.answer()).toBe(44);
  });

  it("is built anew for another VL_REWARD_TORCH, and when its record or its file is lost", async () => {
    const clone = new Clone();
    listen();
    const [first, second] = ["2.12.0", "2.13.0"].map((version) =>
      clone.torchWithLibraries(`torch-${version}`, version),
    );
    await clone.build(clone.env({ VL_REWARD_TORCH: first }));
    expect(clone.record().torch.folder).toBe(first);
    await clone.build(clone.env({ VL_REWARD_TORCH: second }));
    expect(clone.record().torch.folder).toBe(second);
    rmSync(clone.record().addon);
    await clone.build(clone.env());
    expect(clone.answer()).toBe(42);
    clone.write("clone/build/native.json", '{"addon": "');
    await clone.build(clone.env({ VL_REWARD_TORCH: second }));
    expect(clone.record().torch.folder).toBe(second);
  });

  it("keeps the objects of sources that did not change", async () => {
    const clone = new Clone();
    const said = listen();
    clone.write("clone/native/other.cc", "int other() { return 1; }\n");
    await clone.build(clone.env({ VL_REWARD_TORCH: clone.torchWithLibraries("torch", "2.13.0") }));
    clone.write("clone/native/other.cc", "int other() { return 2; }\n");
    await clone.build(clone.env());
    expect(said.said().match(/addon\.cc compiled/g)).toHaveLength(1);
    expect(said.said().match(/other\.cc compiled/g)).toHaveLength(2);
  });
});

describe("libtorch is looked for in order", () => {
  it.skipIf(!hasPython)("VL_REWARD_TORCH, then python3's, then our own copy (needs python3)", async () => {
    const clone = new Clone();
    listen();
    const named = clone.torchWithLibraries("named", "2.11.0");
    const installed = clone.torchWithLibraries("site/torch", "2.12.0");
    clone.write("site/torch/__init__.py", "raise SystemExit('torch was imported')");
    const cached = `cache/torch-2.13.0-${process.platform}-${process.arch}-cpu/torch`;
    clone.torchWithLibraries(cached, "2.13.0+cpu");
    clone.borrow("python3");
    const env = clone.env({ VL_REWARD_CACHE: clone.path("cache"), PYTHONPATH: clone.path("site") });

    await clone.build({ ...env, VL_REWARD_TORCH: named });
    expect(clone.record().torch).toMatchObject({ folder: named, source: "VL_REWARD_TORCH" });
    rmSync(join(clone.root, "build"), { recursive: true });
    await clone.build(env);
    expect(clone.record().torch).toMatchObject({ folder: installed, source: "python3" });
    clone.write("site/torch/version.py", versionFile("2.10.0"));
    await clone.build(env);
    expect(clone.record().torch).toMatchObject({ folder: clone.path(cached), source: "cache" });
  });

  const canBreak = hasPython && process.platform === "linux"; // the linker's rules differ elsewhere
  it.skipIf(!canBreak)(
    "goes on to our own copy when python3's torch does not load (needs python3 and Linux)",
    async () => {
      const clone = new Clone();
      const said = listen();
      execFileSync("c++", ["-shared", "-fPIC", clone.write("empty.cc", ""), "-o", clone.path("libabsent.so")]);
      clone.torchWithLibraries("site/torch", "2.12.0", ["-Wl,--no-as-needed", `-L${clone.folder}`, "-labsent"]);
      clone.write("site/torch/__init__.py", "");
      const cached = `cache/torch-2.13.0-${process.platform}-${process.arch}-cpu/torch`;
      clone.torchWithLibraries(cached, "2.13.0+cpu");
      // The real compiler has to link although the library is gone: the addon's users are who misses it.
      rmSync(clone.path("libabsent.so"));
      clone.borrow("python3");
      clone.write("clone/native/answer.h", "#define ANSWER 7\n");
      await clone.build(
        clone.env({
          VL_REWARD_CACHE: clone.path("cache"),
          PYTHONPATH: clone.path("site"),
          CXX: "c++ -Wl,--no-as-needed",
        }),
      );
      expect(said.said()).toMatch(/does not load: .*libabsent\.so/);
      expect(clone.record().torch).toMatchObject({ folder: clone.path(cached), source: "cache" });
      expect(clone.answer()).toBe(7);
    },
  );
});

describe("what goes wrong is said", () => {
  it("no compiler", async () => {
    const clone = new Clone();
    rmSync(join(clone.bin, "c++"));
    clone.program("apt-get");
    const how = process.platform === "darwin" ? /xcode-select --install/ : /apt-get install g\+\+/;
    await expect(clone.build(clone.env())).rejects.toThrow(/none of c\+\+, g\+\+ and clang\+\+ is on the PATH/);
    await expect(clone.build(clone.env())).rejects.toThrow(how);
    await expect(clone.build(clone.env({ CXX: "icpx" }))).rejects.toThrow(/CXX=icpx, but there is no program icpx/);
  });

  it("a source that does not compile: the error's line and the command, and nothing is left as built", async () => {
    const clone = new Clone();
    listen();
    const torch = clone.torchWithLibraries("torch", "2.13.0");
    clone.write("clone/native/addon.cc", source.replace("ANSWER", "ANSWR"));
    const failure = clone.build(clone.env({ VL_REWARD_TORCH: torch }));
    await expect(failure).rejects.toThrow(
      /compiling addon\.cc failed[\s\S]*addon\.cc:5:.*ANSWR[\s\S]*command: c\+\+ -std=c\+\+20/,
    );
    expect(existsSync(join(clone.root, "build/native.json"))).toBe(false);
    clone.write("clone/native/addon.cc", source);
    await clone.build(clone.env({ VL_REWARD_TORCH: torch }));
    expect(createRequire(import.meta.url)(clone.record().addon)).toEqual({ answer: 42 });
  });

  it("a clone without sources", async () => {
    const clone = new Clone();
    listen();
    rmSync(join(clone.root, "native"), { recursive: true });
    const torch = clone.torch("torch", "2.13.0");
    await expect(clone.build(clone.env({ VL_REWARD_TORCH: torch }))).rejects.toThrow(/holds no C\+\+ source/);
  });
});

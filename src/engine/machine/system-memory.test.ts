import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemMemory } from "./system-memory.ts";

// The files are written as the kernel's documentation (proc, cgroup-v1/memory, cgroup-v2) and real machines have them.
describe("systemMemory", () => {
  let root = "";
  const put = (files: Readonly<Record<string, string>>): void => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
  };
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "system-"));
    put({
      "proc/meminfo": "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n",
      "proc/self/cgroup": "0::/\n",
    });
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it("is the machine's where no limit is set", () => {
    expect(systemMemory(root)).toEqual({ total: 16_000_000 * 1024, available: 8_000_000 * 1024 });
  });

  it("is the group's of version 2 where that is less, its cached files counting as free", () => {
    put({
      "proc/self/cgroup": "0::/user.slice/job\n",
      "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
      "sys/fs/cgroup/user.slice/job/memory.current": "900000000\n",
      "sys/fs/cgroup/user.slice/memory.max": "4000000000\n",
      "sys/fs/cgroup/user.slice/memory.current": "3000000000\n",
      "sys/fs/cgroup/user.slice/memory.stat":
        "anon 700000000\nfile 2300000000\ninactive_file 2000000000\nactive_file 300000000\n",
    });
    expect(systemMemory(root)).toEqual({ total: 4_000_000_000, available: 3_300_000_000 });
  });

  it("is the container's of version 1, whose path outside is not there inside", () => {
    put({
      "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000000\n",
      "sys/fs/cgroup/memory/memory.usage_in_bytes": "1500000000\n",
      "sys/fs/cgroup/memory/memory.stat":
        "inactive_file 1\ntotal_inactive_file 400000000\ntotal_active_file 100000000\n",
    });
    expect(systemMemory(root)).toEqual({ total: 2_000_000_000, available: 1_000_000_000 });
  });

  it("takes version 1's largest number for no limit, and never falls below zero", () => {
    put({
      "proc/self/cgroup": "4:memory:/a\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "sys/fs/cgroup/memory/memory.usage_in_bytes": "1500000000\n",
    });
    expect(systemMemory(root).available).toBe(8_000_000 * 1024);
    put({
      "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "100\n",
      "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "300\n",
    });
    expect(systemMemory(root).available).toBe(0);
  });

  it("asks the system where there is no /proc", () => {
    rmSync(join(root, "proc"), { recursive: true });
    const { total, available } = systemMemory(root);
    expect(total).toBe(totalmem());
    expect(available).toBeGreaterThan(0);
    expect(available).toBeLessThanOrEqual(total);
  });
});

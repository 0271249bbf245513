import { defineConfig } from "vitest/config";

// Tests of one file share a process; files run in separate processes, because libtorch's thread settings are global.
export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Two test files run at once; threads of libtorch on top of them would only wait for each other.
    // Servers of tests are on this machine, wherever a proxy of the environment leads.
    env: { OMP_NUM_THREADS: "1", no_proxy: "*" },
  },
});

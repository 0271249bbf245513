/** @file What `vl-reward doctor` prints for people. */
import { defaultShare } from "../../engine/machine/memory.ts";
import { worthwhile } from "../../engine/machine/precision.ts";
import type { Report } from "./examine.ts";

export function page(report: Report): string {
  const { cpu, libtorch, precision, memory, embedded_model: embedded } = report;
  const missing = "not available, see below";
  const speed = (dtype: string, gflops: number): string => `${dtype} ${gflops.toFixed(0)} GFLOP/s`;
  const rows: [name: string, ...lines: string[]][] = [
    ["vl-reward", report.version],
    ["Node", `${report.node} on ${report.platform}`],
    ["processor", `${cpu.model}, ${cpu.cores} cores`],
    libtorch
      ? [
          "libtorch",
          `${libtorch.version}, ${libtorch.kind}, ${libtorch.threads} threads`,
          `${whence[libtorch.source] ?? libtorch.source}: ${libtorch.folder}`,
        ]
      : ["libtorch", missing],
    ["devices", libtorch?.devices.join(", ") ?? missing],
    precision
      ? [
          "precision",
          `${speed("float32", precision.gflops.float32)}, ${speed("bfloat16", precision.gflops.bfloat16)}` +
            ` on ${precision.device}, measured ${precision.remembered ? "before" : "now"}`,
          `--dtype auto is ${precision.auto}: bfloat16 where it is ${worthwhile} times as fast`,
        ]
      : ["precision", missing],
    [
      "memory",
      `${size(memory.total)}, of it ${size(memory.available)} available`,
      `--memory is ${size(memory.budget)} by default, ${defaultShare * 100}% of what is available`,
    ],
    ...report.caches.map(({ name, folder, bytes }): [string, string] => [
      `${name} cache`,
      `${folder} (${bytes === 0 ? "empty" : size(bytes)})`,
    ]),
    ["pictures", report.pictures ?? missing],
    ["video", report.video ? "FFmpeg, through node-av" : missing],
    [
      "embedded model",
      embedded
        ? `${(embedded.parameters / 1e6).toFixed(1)} million parameters, ${embedded.untrained ? "random weights" : "trained"}`
        : missing,
    ],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const table = rows
    .flatMap(([name, ...lines]) => lines.map((line, index) => `${(index === 0 ? name : "").padEnd(width)}  ${line}\n`))
    .join("");
  const problems = report.problems.map(
    ({ problem, remedy, needed }) => `\n${needed ? "Broken" : "Note"}: ${problem}\n  ${remedy}\n`,
  );
  return `${table}${problems.length > 0 ? problems.join("") : "\nNothing is wrong.\n"}`;
}

const whence: Readonly<Record<string, string>> = {
  VL_REWARD_TORCH: "named by VL_REWARD_TORCH",
  python3: "of the python3 on the PATH",
  cache: "our own copy",
};

function size(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

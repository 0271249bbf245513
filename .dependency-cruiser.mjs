/**
 * The architecture as rules: imports point down (docs/architecture.md draws the stack), only src/torch knows that there is
 * a native addon, and only the registry of families knows a backbone. Rooms are listed from the bottom up; a room may
 * import itself and those before it. A folder of src/ that is in no row is an error.
 */
import { readdirSync } from "node:fs";

const stack = [
  ["errors\\.ts", "conversation\\.ts"],
  ["files/", "net/"],
  ["tasks/"],
  ["torch/"],
  ["nn/", "checkpoint/", "hub/", "tokenizer/", "media/"],
  ["models/", "data/"],
  ["synthetic/"],
  ["engine/"],
  ["reward/", "report/"],
  ["training/"],
  ["benchmarks/", "server/"],
  ["cli/", "index\\.ts"],
];

const listed = stack.flat().map((room) => room.replace(/\/$/, "").replace("\\", ""));
for (const name of readdirSync(new URL("./src", import.meta.url))) {
  if (listed.includes(name)) continue;
  throw new Error(`src/${name} stands in no layer: add it to the stack in .dependency-cruiser.mjs`);
}

const nameOf = (rooms) => rooms.join("-").replace(/[^a-z]+/g, "-");

const upward = stack.slice(0, -1).map((rooms, level) => ({
  name: `imports-point-down-from-${nameOf(rooms)}`,
  severity: "error",
  from: { path: `^src/(${rooms.join("|")})`, pathNot: "\\.test\\.ts$" },
  to: {
    path: `^src/(${stack
      .slice(level + 1)
      .flat()
      .join("|")})`,
  },
}));

const siblings = stack
  .filter((rooms) => rooms.length > 1)
  .flatMap((rooms) =>
    rooms.map((room) => ({
      name: `siblings-are-independent-${room.replace(/[^a-z]+/g, "")}`,
      severity: "error",
      from: { path: `^src/${room}`, pathNot: "\\.test\\.ts$" },
      to: { path: `^src/(${rooms.filter((other) => other !== room).join("|")})` },
    })),
  );

export default {
  forbidden: [
    ...upward,
    ...siblings,
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true, dependencyTypesNot: ["type-only"] } },
    {
      name: "one-door-to-libtorch",
      comment: "the addon's path is known to src/torch/native.ts alone",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/torch/" },
      to: { path: "^src/torch/native\\.ts$" },
    },
    ...[
      { from: { path: "^src/", pathNot: "^src/models/([^/]+/|families\\.ts$)|\\.test\\.ts$" }, to: {} },
      { from: { path: "^src/models/([^/]+)/", pathNot: "\\.test\\.ts$" }, to: { pathNot: "^src/models/$1/" } },
    ].map(({ from, to }, index) => ({
      name: `one-door-to-a-backbone-${index === 0 ? "from-outside" : "between-families"}`,
      comment: "families.ts alone imports the folder of a family",
      severity: "error",
      from,
      to: { path: "^src/models/(?!heads/)[^/]+/", ...to },
    })),
    {
      name: "not-to-tests",
      severity: "error",
      from: { pathNot: "\\.test\\.ts$|^test/" },
      to: { path: "\\.test\\.ts$|^test/" },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    includeOnly: "^src/",
  },
};

/**
 * The architecture as rules: imports point down (docs/architecture.md draws the stack), and only src/torch knows that
 * there is a native addon. Rooms are listed from the bottom up; a room may import itself and those before it.
 */
const stack = [
  ["errors\\.ts"],
  ["torch/"],
  ["nn/", "checkpoint/", "tokenizer/", "media/"],
  ["models/"],
  ["data/"],
  ["reward/"],
  ["training/"],
  ["benchmarks/"],
  ["cli/"],
];

const upward = stack.slice(0, -1).map((rooms, level) => ({
  name: `imports-point-down-from-${rooms.join("-").replace(/[^a-z]+/g, "-")}`,
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

import { type DefaultTreeAdapterMap, parse } from "parse5";
import { describe, expect, it } from "vitest";
import type { Evaluation, StepMetrics } from "./metrics.ts";
import { type Report, reportPage } from "./report.ts";

type Node = DefaultTreeAdapterMap["node"];
type Element = DefaultTreeAdapterMap["element"];

/** Elements of the page as an HTML parser of others sees them; any error of form fails. */
function elementsOf(page: string): Element[] {
  const errors: string[] = [];
  const document = parse(page, { onParseError: ({ code, startLine }) => errors.push(`${code} in line ${startLine}`) });
  expect(errors).toEqual([]);
  const below = (node: Node): Element[] => [
    ...("tagName" in node ? [node] : []),
    ...("childNodes" in node ? node.childNodes.flatMap(below) : []),
  ];
  return below(document);
}

function textOf(node: Node): string {
  if ("value" in node) return node.value;
  return "childNodes" in node ? node.childNodes.map(textOf).join("") : "";
}

const attribute = (element: Element | undefined, name: string) =>
  element?.attrs.find((one) => one.name === name)?.value;
const named = (elements: readonly Element[], tag: string) => elements.filter(({ tagName }) => tagName === tag);
const inClass = (elements: readonly Element[], name: string) =>
  elements.filter((element) => attribute(element, "class")?.split(" ").includes(name));

function stepsOf(count: number): StepMetrics[] {
  return Array.from({ length: count }, (_, i) => ({
    stage: i < count / 2 ? "multimodal" : "mixed",
    step: i + 1,
    loss: 0.7 - (0.4 * i) / count,
    sums: {},
    accuracy: (i % 5) / 4,
    margin: i / count,
    gradNorm: 1 + (i % 7),
    learningRate: 1e-5,
    pairs: 2,
    tokens: 300,
    seconds: 0.5,
  }));
}

function evaluationOf(step: number, accuracy: number, sources: readonly string[]): Evaluation {
  const numbers = {
    pairs: 100,
    correct: accuracy * 100,
    accuracy,
    interval: [0.5, 0.9],
    margin: 0.5,
    loss: 0.6,
  } as const;
  return { stage: "multimodal", step, overall: numbers, sources: new Map(sources.map((name) => [name, numbers])) };
}

const empty: Report = {
  name: "run",
  outcome: "Finished.",
  config: "seed: 0\n",
  environment: new Map([["libtorch", "2.13.0"]]),
  peakMemory: 2.5e9,
  data: [],
  steps: [],
  sums: [{ name: "language_loss", title: "Language modelling", about: "cross-entropy" }],
  evaluations: [],
};

describe("the report", () => {
  it("shows curves, stages, totals, sources and data", () => {
    const report = {
      path: "/somewhere/pairs.jsonl",
      format: "messages",
      records: 1000,
      usable: 990,
      pairs: 995,
      bad: { count: 7, first: [{ line: 12, code: "media_not_found", message: "no cat.png" }] },
      tooLong: { dropped: 3, cut: 4, refused: 0 },
      lengthUnknown: 0,
      longest: 512,
    } as const;
    const page = reportPage({
      ...empty,
      steps: stepsOf(1200),
      evaluations: [evaluationOf(600, 0.75, ["a", "b"]), evaluationOf(1200, 0.71, ["a", "b"])],
      data: [{ use: "mixed", path: "pairs.jsonl", weight: 0.5, report }],
    });
    const elements = elementsOf(page);
    const captions = named(elements, "figcaption").map(textOf);
    expect(captions).toHaveLength(5);
    for (const [i, title] of ["Loss", "Accuracy", "Margin", "Gradient norm", "Learning rate"].entries()) {
      expect(captions[i]).toMatch(new RegExp(`^${title}`));
    }
    expect(inClass(elements, "stage-name").map(textOf)).toEqual(Array(5).fill(["multimodal", "mixed"]).flat());
    const tiles = named(elements, "dd").map(textOf);
    expect(tiles).toEqual([
      "75.0%50.0% to 90.0%, step 600",
      "71.0%50.0% to 90.0%, step 1200",
      "1,200in 10 min",
      "2,4004 per second",
      "360,000600 per second",
      "2.5 GBof the process",
    ]);
    const rows = named(elements, "tr").map((row) => row.childNodes.map(textOf).filter((text) => text.trim() !== ""));
    expect(rows).toContainEqual(["b", "100", "71.0%", "50.0% to 90.0%", "0.5", "0.6"]);
    expect(rows).toContainEqual(["multimodal", "1 to 600", "1,200", "180,000", "5 min", "4", "0.51", "50.0%"]);
    expect(rows).toContainEqual([
      "mixed",
      "pairs.jsonl",
      "0.5",
      "1,000",
      "990",
      "995",
      "4",
      "3 too long7 that cannot be used, first:line 12: no cat.png",
    ]);
  });

  it("draws a point where it belongs", () => {
    const steps = stepsOf(3).map((step, i) => ({ ...step, loss: [0.25, 0.75, 0.5][i] ?? 0, stage: "one" }));
    const [line] = inClass(named(elementsOf(reportPage({ ...empty, steps })), "path"), "mean").filter((path) =>
      attribute(path, "d")?.includes("L"),
    );
    const places = [...(attribute(line, "d") ?? "").matchAll(/([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [
      Number(x),
      Number(y),
    ]);
    const [[x1 = 0, y1 = 0] = [], [x2 = 0, y2 = 0] = [], [x3 = 0, y3 = 0] = []] = places;
    expect(places).toHaveLength(3);
    expect(x2 - x1).toBeCloseTo(x3 - x2, 0);
    expect(y2).toBeLessThan(y3); // a greater loss stands higher
    expect((y1 - y3) / (y1 - y2)).toBeCloseTo(0.5, 1);
  });

  it("says of every stripe of a curve which steps and values lie there", () => {
    const titles = inClass(elementsOf(reportPage({ ...empty, steps: stepsOf(4) })), "band").map(textOf);
    expect(titles.slice(0, 2)).toEqual(["step 1: 0.7", "step 2: 0.6"]);
    const long = inClass(elementsOf(reportPage({ ...empty, steps: stepsOf(1600) })), "band").map(textOf);
    expect(long[160]).toMatch(/^steps 1 to 10: 0\.0% to 100\.0%, mean \d\d\.\d%$/);
  });

  it("takes every text for text", () => {
    const nasty = `</style></pre><script>alert("1")</script>&amp;'\u0000\ud800`;
    const evil = (step: StepMetrics) => ({ ...step, stage: nasty });
    const page = reportPage({
      ...empty,
      name: nasty,
      outcome: nasty,
      config: nasty,
      environment: new Map([[nasty, nasty]]),
      steps: stepsOf(2).map(evil),
      evaluations: [evaluationOf(1, 0.5, [nasty]), evaluationOf(2, 0.5, [nasty])],
    });
    const elements = elementsOf(page);
    const shown = nasty.replace("\u0000", "\ufffd").replace("\ud800", "\ufffd");
    expect(named(elements, "script")).toEqual([]);
    expect(named(elements, "h1").map(textOf)).toEqual([shown]);
    expect(named(elements, "pre").map(textOf)).toEqual([shown]);
    expect(named(elements, "title").map(textOf)[0]).toBe(`${shown}: training report`);
  });

  it("asks for nothing from anywhere", () => {
    const steps = stepsOf(100);
    const page = reportPage({
      ...empty,
      steps,
      evaluations: [evaluationOf(50, 0.5, ["a"]), evaluationOf(90, 1, ["a"])],
    });
    const elements = elementsOf(page);
    expect(page).not.toMatch(/https?:|url\(|@import/);
    const allowed = ["html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "main", "section"];
    const inTables = ["div", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "dl", "dt", "dd", "small", "pre"];
    const inFigures = ["figure", "figcaption", "b", "span", "svg", "g", "path", "rect", "circle", "text"];
    for (const { tagName, attrs } of elements) {
      expect([...allowed, ...inTables, ...inFigures]).toContain(tagName);
      for (const { name } of attrs) expect(name).not.toMatch(/^(src|href|xlink|on|action|data|style|background)/);
    }
    const policy = named(elements, "meta").find((meta) => attribute(meta, "http-equiv") !== undefined);
    expect(attribute(policy, "content")).toBe("default-src 'none'; style-src 'unsafe-inline'");
  });

  it("stays small for a long run with many validations and sources, and still shows its one spike", () => {
    const sources = Array.from({ length: 200 }, (_, i) => `source ${i}`);
    const evaluations = Array.from({ length: 1000 }, (_, i) => evaluationOf(100 * (i + 1), (i % 100) / 100, sources));
    const noise = (i: number) => ((i * 7919) % 1000) / 1000;
    const steps = stepsOf(100_000).map((step, i) => ({
      ...step,
      loss: i === 31_414 ? 77 : noise(i),
      gradNorm: 1 + noise(i),
    }));
    const page = reportPage({ ...empty, steps, evaluations });
    expect(page.length).toBeLessThan(2e6);
    expect(
      inClass(elementsOf(page), "band")
        .map(textOf)
        .filter((text) => text.includes("to 77,")),
    ).toEqual([expect.stringMatching(/^steps 31251 to 31875: /)]);
    // 77 is the top of the loss curve's first line, far above all others
    const first = inClass(named(elementsOf(page), "path"), "single").find((path) =>
      attribute(path, "d")?.includes("L"),
    );
    const heights = [...(attribute(first, "d") ?? "").matchAll(/[ML][\d.]+ ([\d.]+)/g)].map(([, y]) => Number(y));
    expect(Math.min(...heights)).toBeLessThan(50);
    expect(heights.filter((y) => y < 200)).toHaveLength(1);
  });

  it("says how many steps gave no number, and draws the others", () => {
    const steps = stepsOf(10).map((step, i) => (i === 9 ? { ...step, loss: Number.NaN } : step));
    const elements = elementsOf(reportPage({ ...empty, steps }));
    expect(inClass(elements, "warning").map(textOf)).toEqual(["1 of 10 steps gave no finite number"]);
    for (const path of named(elements, "path")) expect(attribute(path, "d")).not.toMatch(/NaN|Infinity/);
  });

  it.each([
    ["nothing", empty],
    ["a validation alone", { ...empty, evaluations: [evaluationOf(0, 0.5, [])] }],
    ["one step", { ...empty, steps: stepsOf(1), evaluations: [evaluationOf(1, 1, ["a"])] }],
    ["steps that are all not numbers", { ...empty, steps: stepsOf(2).map((step) => ({ ...step, loss: Number.NaN })) }],
  ])("is whole with %s", (_what, report) => {
    const page = reportPage(report);
    elementsOf(page);
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });
});

it("shows an objective's sum where some steps have it, and draws nothing where a step has no number", () => {
  const titles = (steps: readonly StepMetrics[]): { titles: string[]; page: string } => {
    const page = reportPage({ ...empty, steps });
    return { titles: named(elementsOf(page), "figcaption").map(textOf), page };
  };
  const plain = stepsOf(40);
  expect(titles(plain).titles.some((title) => title.includes("Language modelling"))).toBe(false);
  const mixed = plain.map((step, i) =>
    i < 20
      ? { ...step, sums: { language_loss: 2 - i / 20, told_nowhere: 1 }, accuracy: Number.NaN, margin: Number.NaN }
      : step,
  );
  const { titles: found, page } = titles(mixed);
  expect(found.some((title) => title.includes("Language modelling"))).toBe(true);
  expect(page).not.toContain("told_nowhere");
  expect(page).not.toContain("NaN");
});

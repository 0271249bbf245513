/**
 * @file Curves over the steps of a run as inline SVG: no script, colours by the page's style sheet, and every kind of
 * mark told apart by its form as well.
 */
import { logTicks, type Point, type Span, smooth, thin, ticks } from "./curve.ts";
import { type Markup, markup } from "./markup.ts";
import { percent, percentRange, short } from "./numbers.ts";

/** A stage and the steps that were made in it. */
export interface StageSpan extends Span {
  readonly name: string;
}

/** A value that was measured on held-out pairs. */
export interface Mark extends Point {
  readonly interval?: readonly [low: number, high: number];
}

export interface Curve {
  readonly title: string;
  /** What a point is, for those who cannot see it: "mean over the pairs of a step". */
  readonly about: string;
  readonly points: readonly Point[]; // by step; what is not finite is left out and said
  readonly marks: readonly Mark[]; // validation, by step
  readonly scale: "linear" | "logarithmic" | "share"; // logarithmic falls back to linear where values are not above 0
  /** Whether single steps are so noisy that a moving mean says more. */
  readonly smoothed: boolean;
}

const size = { width: 720, height: 250, left: 58, right: 30, top: 26, bottom: 30 } as const;
const plot = {
  width: size.width - size.left - size.right,
  height: size.height - size.top - size.bottom,
  bottom: size.height - size.bottom,
} as const;
const buckets = plot.width / 2; // one for two pixels
const bands = 160; // that show their values when pointed at
const singleMarks = 60; // more of them are drawn as a line

/** @param stages in the order of their steps, at least one */
export function curveChart(
  { title, about, points, marks, scale, smoothed }: Curve,
  stages: readonly StageSpan[],
): Markup {
  const span = { from: stages[0]?.from ?? 1, to: stages.at(-1)?.to ?? 1 };
  const finite = points.filter(({ y }) => Number.isFinite(y));
  const measured = marks.filter(({ y }) => Number.isFinite(y));
  const lost = points.length - finite.length;
  if (finite.length === 0 && measured.length === 0) {
    return figure(title, about, [], markup`<p class="none">No values.</p>`);
  }
  const window = Math.min(500, Math.floor(finite.length / 20));
  const mean = smoothed && window >= 2 ? smooth(finite, stages, window) : [];
  const axis = verticalAxis(scale, [...finite, ...measured.flatMap(withInterval)]);
  const x = horizontal(span);
  const path = (line: readonly Point[]) =>
    thin(line, span, buckets).map(({ x: step, y }) => [x(step), axis.y(y)] as const);

  const drawing = markup`<svg viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="${title} by step: ${about}">
${axis.ticks.map((value) => gridLine(axis.y(value), scale === "share" ? `${Math.round(value * 1000) / 10}%` : short(value)))}
${stepTicks(span).map((step) => stepLabel(x(step), step))}
${stages.map((stage, i) => stageLabel(stage, i === 0 ? size.left : x(stage.from - 0.5), x(stage.to)))}
${polyline(path(finite), mean.length > 0 ? "single" : "mean")}${mean.length > 0 ? polyline(path(mean), "mean") : ""}
${valueBands(finite, mean, span, scale, x)}
${validationMarks(measured, span, scale, x, axis.y)}
</svg>`;
  const keys = [
    ...(finite.length === 0 ? [] : [key(mean.length > 0 ? "single" : "mean", "each step")]),
    ...(mean.length > 0 ? [key("mean", `mean over about ${window} steps`)] : []),
    ...(measured.length > 0 ? [key("validation", "validation")] : []),
    ...(axis.logarithmic ? [markup`<span>logarithmic scale</span>`] : []),
    ...(lost > 0 ? [markup`<span class="warning">${lost} of ${points.length} steps gave no finite number</span>`] : []),
  ];
  return figure(title, about, keys, drawing);
}

function figure(title: string, about: string, keys: readonly Markup[], drawing: Markup): Markup {
  return markup`<figure><figcaption><b>${title}</b> <span class="about">${about}</span><span class="keys">${keys}</span></figcaption>${drawing}</figure>\n`;
}

function key(kind: "single" | "mean" | "validation", text: string): Markup {
  const sample =
    kind === "validation"
      ? markup`<path class="interval" d="M12 1v12"/>${diamond(12, 7)}`
      : markup`<path class="${kind}" d="M1 7h22"/>`;
  return markup`<span><svg class="key" viewBox="0 0 24 14" aria-hidden="true">${sample}</svg>${text}</span>`;
}

function withInterval({ x, y, interval = [y, y] }: Mark): Point[] {
  return [y, ...interval].map((value) => ({ x, y: value }));
}

interface Axis {
  readonly ticks: readonly number[];
  readonly y: (value: number) => number; // pixels from the top
  readonly logarithmic: boolean;
}

function verticalAxis(scale: Curve["scale"], points: readonly Point[]): Axis {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { y } of points) {
    low = Math.min(low, y);
    high = Math.max(high, y);
  }
  const logarithmic = scale === "logarithmic" && low > 0 && high / low > 20;
  if (logarithmic) {
    const height = Math.log(high / low);
    return {
      ticks: logTicks(low, high),
      y: (value) => plot.bottom - (Math.log(value / low) / height) * plot.height,
      logarithmic,
    };
  }
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  const bottom = scale === "share" ? Math.max(0, low - room) : low >= 0 ? Math.max(0, low - room) : low - room;
  const top = scale === "share" ? Math.min(1, high + room) : high + room;
  return {
    ticks: ticks(bottom, top, 5),
    y: (value) => plot.bottom - ((value - bottom) / (top - bottom)) * plot.height,
    logarithmic,
  };
}

function horizontal({ from, to }: Span): (step: number) => number {
  return (step) => (to === from ? size.left + plot.width / 2 : size.left + ((step - from) / (to - from)) * plot.width);
}

function stepTicks({ from, to }: Span): number[] {
  return ticks(from, to, 8).filter(Number.isInteger);
}

function gridLine(y: number, label: string): Markup {
  return markup`<path class="grid" d="M${size.left} ${px(y)}H${size.width - size.right}"/><text class="tick" x="${size.left - 6}" y="${px(y + 4)}" text-anchor="end">${label}</text>`;
}

function stepLabel(x: number, step: number): Markup {
  return markup`<text class="tick" x="${px(x)}" y="${plot.bottom + 18}" text-anchor="middle">${step.toLocaleString("en-US")}</text>`;
}

/** A dashed line where the stage begins, and as much of its name as fits. */
function stageLabel({ name, from, to }: StageSpan, left: number, right: number): Markup {
  const room = Math.floor((right - left) / 7);
  const label = name.length > room ? `${name.slice(0, Math.max(0, room - 1))}…` : name;
  return markup`<g><title>stage ${name}: steps ${from} to ${to}</title><path class="stage" d="M${px(left)} 8V${plot.bottom}"/>${
    room > 2 ? markup`<text class="stage-name" x="${px(left + 5)}" y="17">${label}</text>` : ""
  }</g>`;
}

function polyline(line: readonly (readonly [number, number])[], kind: string): Markup {
  const only = line[0];
  if (line.length === 1 && only)
    return markup`<circle class="dot ${kind}" cx="${px(only[0])}" cy="${px(only[1])}" r="3"/>`;
  return markup`<path class="${kind}" d="${line.map(([x, y], i) => `${i === 0 ? "M" : "L"}${px(x)} ${px(y)}`).join("")}"/>`;
}

/** Invisible stripes over the plot; pointed at, each says what lies under it. */
function valueBands(
  points: readonly Point[],
  mean: readonly Point[],
  { from, to }: Span,
  scale: Curve["scale"],
  x: (step: number) => number,
): Markup[] {
  const width = Math.max(1, Math.ceil((to - from + 1) / bands)); // steps
  const groups = new Map<number, { low: number; high: number; mean: number | undefined }>();
  points.forEach(({ x: step, y }, i) => {
    const band = Math.floor((step - from) / width);
    const known = groups.get(band) ?? { low: y, high: y, mean: undefined };
    groups.set(band, { low: Math.min(known.low, y), high: Math.max(known.high, y), mean: mean[i]?.y });
  });
  const value = scale === "share" ? percent : short;
  return [...groups].map(([band, { low, high, mean }]) => {
    const first = from + band * width;
    const last = Math.min(to, first + width - 1);
    const steps = first === last ? `step ${first}` : `steps ${first} to ${last}`;
    const range = low === high ? value(low) : `${value(low)} to ${value(high)}`;
    const left = Math.max(size.left, x(first - 0.5));
    const right = Math.min(size.width - size.right, x(last + 0.5));
    return markup`<rect class="band" x="${px(left)}" y="${size.top}" width="${px(right - left)}" height="${plot.height}"><title>${steps}: ${range}${
      mean === undefined ? "" : `, mean ${value(mean)}`
    }</title></rect>`;
  });
}

function validationMarks(
  marks: readonly Mark[],
  span: Span,
  scale: Curve["scale"],
  x: (step: number) => number,
  y: (value: number) => number,
): Markup {
  if (marks.length === 0) return markup``;
  const place = (points: readonly Point[]) => thin(points, span, singleMarks).map((p) => [x(p.x), y(p.y)] as const);
  const line = polyline(place(marks), "validation");
  if (marks.length > singleMarks) {
    return markup`${intervalArea(marks, span, singleMarks, x, y)}${line}`;
  }
  const value = scale === "share" ? percent : short;
  const singles = marks.map(({ x: step, y: height, interval }) => {
    const whisker = interval
      ? markup`<path class="interval" d="M${px(x(step))} ${px(y(interval[0]))}V${px(y(interval[1]))}"/>`
      : "";
    const range = interval ? ` (95%: ${percentRange(interval)})` : "";
    return markup`<g class="mark">${whisker}${diamond(x(step), y(height))}<title>validation at step ${step}: ${value(height)}${range}</title></g>`;
  });
  return markup`${line}${singles}`;
}

/** The intervals of marks as a filled area. */
export function intervalArea(
  marks: readonly Mark[],
  span: Span,
  parts: number,
  x: (step: number) => number,
  y: (value: number) => number,
): Markup {
  const edge = (side: 0 | 1) =>
    thin(
      marks.flatMap(({ x: step, interval }) => (interval ? [{ x: step, y: interval[side] }] : [])),
      span,
      parts,
    ).map((point) => `${px(x(point.x))} ${px(y(point.y))}`);
  const outline = [...edge(1), ...edge(0).reverse()].join("L");
  return outline === "" ? markup`` : markup`<path class="area" d="M${outline}Z"/>`;
}

function diamond(x: number, y: number): Markup {
  return markup`<path class="diamond" d="M${px(x)} ${px(y - 5)}l4 5l-4 5l-4 -5z"/>`;
}

/** A share with its interval on a scale from 0 to 1, chance marked. */
export function intervalBar(share: number, [low, high]: readonly [number, number]): Markup {
  const x = (value: number) => px(4 + value * 152);
  const dot = Number.isNaN(share) ? "" : markup`<circle class="point" cx="${x(share)}" cy="9" r="4"/>`;
  return markup`<svg class="bar" viewBox="0 0 160 18" role="img" aria-label="${percent(share)}, 95% interval ${percentRange([low, high])}"><path class="grid" d="M4 9H156"/><path class="stage" d="M${x(0.5)} 1V17"/><path class="interval" d="M${x(low)} 9H${x(high)}M${x(low)} 5V13M${x(high)} 5V13"/>${dot}</svg>`;
}

/** A share by step, 0 to 1 from bottom to top, with its interval behind it. */
export function sparkline(marks: readonly Mark[]): Markup {
  const known = marks.filter(({ y }) => Number.isFinite(y));
  const span = { from: known[0]?.x ?? 0, to: known.at(-1)?.x ?? 0 };
  if (span.to === span.from) return markup``;
  const x = (step: number) => 3 + ((step - span.from) / (span.to - span.from)) * 134;
  const y = (share: number) => 33 - share * 30;
  const line = thin(known, span, 34).map((point) => [x(point.x), y(point.y)] as const);
  return markup`<svg class="spark" viewBox="0 0 140 36" aria-hidden="true"><path class="stage" d="M3 ${y(0.5)}H137"/>${intervalArea(known, span, 34, x, y)}${polyline(line, "validation")}</svg>`;
}

/** A tenth of a pixel is enough. */
function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}

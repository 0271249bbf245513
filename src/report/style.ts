/**
 * @file The look of the report, on a light or a dark ground. Blue and orange of Okabe and Ito's palette stay apart for
 * those who do not see all colours; thin, thick and diamonds tell the curves apart without any.
 */
import { Markup } from "./markup.ts";

export const reportStyle = new Markup(`
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1b1f; --quiet: #5c5f66; --line: #d9dbe0; --panel: #f6f7f9;
  --train: #0072b2; --held-out: #b34700; --area: #d55e0033; --alarm: #a40000; --faint: .38; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181d; --ink: #e8e9ed; --quiet: #a6a9b1; --line: #3a3d45;
  --panel: #1f2229; --train: #56b4e9; --held-out: #f0a030; --area: #e69f0040; --alarm: #ff9a8a; --faint: .55; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 20px 60px; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 10px; }
header p, section > p { margin: 4px 0 12px; color: var(--quiet); }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 20px 0 0; }
.tiles div { flex: 1 1 150px; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tiles dt { color: var(--quiet); font-size: 13px; }
.tiles dd { margin: 0; font-size: 22px; font-variant-numeric: tabular-nums; }
.tiles small { display: block; font-size: 12.5px; color: var(--quiet); }
figure { display: inline-block; vertical-align: top; width: 100%; max-width: 720px; margin: 0 0 22px; }
@media (min-width: 1000px) { figure { width: calc(50% - 12px); margin-right: 8px; } }
figcaption { min-height: 44px; }
.about, .keys { color: var(--quiet); font-size: 13px; }
.keys { display: flex; flex-wrap: wrap; gap: 2px 16px; }
.key { width: 24px; height: 14px; vertical-align: -2px; margin-right: 5px; }
.warning { color: var(--alarm); font-weight: 600; }
figure > svg { width: 100%; height: auto; display: block; }
svg path { fill: none; }
svg text { fill: var(--quiet); font-size: 12px; font-family: inherit; }
svg .stage-name { fill: var(--ink); }
.grid { stroke: var(--line); stroke-width: 1; }
.stage { stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 4 4; }
.single { stroke: var(--train); stroke-width: 1; opacity: var(--faint); }
.mean { stroke: var(--train); stroke-width: 2.2; stroke-linejoin: round; }
svg .dot { fill: var(--train); stroke: none; opacity: 1; }
.validation { stroke: var(--held-out); stroke-width: 1.6; stroke-dasharray: 6 3; }
svg .dot.validation { fill: var(--held-out); stroke: none; }
.interval { stroke: var(--held-out); stroke-width: 1.6; }
svg .diamond { fill: var(--held-out); stroke: var(--ground); stroke-width: 1; }
svg .area { fill: var(--area); stroke: none; }
.point { fill: var(--held-out); }
.band { fill: transparent; }
.band:hover { fill: var(--quiet); fill-opacity: .22; }
.bar { width: 160px; height: 18px; display: block; }
.spark { width: 140px; height: 36px; display: block; }
.spark .validation { stroke-dasharray: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
thead th { color: var(--quiet); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 600; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.t { overflow-wrap: anywhere; }
td ul { margin: 0; padding-left: 16px; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; overflow-x: auto;
  font-size: 13px; }
.none { color: var(--quiet); }
@media print { .band { display: none; } figure, tr { break-inside: avoid; } }
`);

/** @file The explorer: any file of pairs or results, by margin, with pictures, to be marked by a person. */

import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Header } from "../header.tsx";
import { signed } from "../numbers.ts";
import { Details } from "./details.tsx";
import { joined, type Mark, markedLines, type Row, readRows } from "./rows.ts";

type Order = "file" | "least" | "most";

const rowHeight = 56; // pixels, as in style.css
const spare = 6; // rows above and below those that are seen

function Explorer() {
  const [rows, setRows] = useState<readonly Row[]>([]);
  const [marks, setMarks] = useState<ReadonlyMap<number, Mark>>(new Map());
  const [order, setOrder] = useState<Order>("file");
  const [at, setAt] = useState(0);
  const [status, setStatus] = useState(
    "Open a JSON Lines file of pairs or results, or drop it here. Nothing leaves this computer.",
  );

  async function open(files: readonly File[]) {
    try {
      const read = [];
      for (const file of files) {
        read.push(await readRows(file, (share) => setStatus(`Reading ${file.name}: ${Math.round(100 * share)}%`)));
      }
      // Results have no texts: a file of records beside them shows what they are about.
      const [first, second] = read.sort((a, b) => Number(hasTexts(b.rows)) - Number(hasTexts(a.rows)));
      if (!first) return;
      setRows(second ? joined(first.rows, second.rows) : first.rows);
      setMarks(new Map());
      go(0);
      const bad = read.reduce((sum, one) => sum + one.bad, 0);
      setStatus(
        `${first.rows.length.toLocaleString()} rows${bad > 0 ? `, ${bad.toLocaleString()} lines that are no JSON objects` : ""}`,
      );
    } catch (error) {
      setStatus(error instanceof Error ? error.message : String(error));
    }
  }

  const sorted = useMemo(() => {
    if (order === "file") return rows;
    const sign = order === "least" ? 1 : -1;
    return rows.toSorted((a, b) => sign * ((a.margin ?? sign * Infinity) - (b.margin ?? sign * Infinity)));
  }, [rows, order]);
  const row = sorted[at];

  // Keys may come faster than the page is drawn: where a person is, is not what was drawn last.
  const place = useRef(0);
  function go(to: number) {
    place.current = Math.max(0, Math.min(sorted.length - 1, to));
    setAt(place.current);
  }

  function mark(value: Mark) {
    const line = sorted[place.current]?.line;
    if (line === undefined) return;
    setMarks((before) => {
      const next = new Map(before);
      if (next.get(line) === value) next.delete(line);
      else next.set(line, value);
      return next;
    });
  }

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { target, key, ctrlKey, metaKey, altKey } = event;
      if (
        ctrlKey ||
        metaKey ||
        altKey ||
        (target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName))
      )
        return;
      const found = { r: "right", w: "wrong", t: "tie" }[key] as Mark | undefined;
      if (found) mark(found);
      else if (key === "j" || key === "ArrowDown") go(place.current + 1);
      else if (key === "k" || key === "ArrowUp") go(place.current - 1);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  function download() {
    const url = URL.createObjectURL(new Blob([markedLines(rows, marks)], { type: "application/jsonl" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = "marked.jsonl";
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // once the browser has read it
  }

  return (
    <>
      <Header page="explore" />
      <main
        class="explore"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          void open([...(event.dataTransfer?.files ?? [])]);
        }}
      >
        <section aria-labelledby="rows-title">
          <h2 id="rows-title">Rows</h2>
          <div class="row">
            <label class="file button primary">
              <span>Open files</span>
              <input
                type="file"
                multiple
                accept=".jsonl,.json,.txt"
                onChange={(event) => void open([...(event.currentTarget.files ?? [])])}
              />
            </label>
            <label>
              Order{" "}
              <select value={order} onChange={(event) => setOrder(event.currentTarget.value as Order)}>
                <option value="file">as in the file</option>
                <option value="least">smallest margin first</option>
                <option value="most">largest margin first</option>
              </select>
            </label>
            <button type="button" onClick={download} disabled={marks.size === 0}>
              Download {marks.size} marked
            </button>
          </div>
          <p class="status" role="status">
            {status}
          </p>
          <List rows={sorted} marks={marks} at={at} onSelect={go} />
        </section>
        <section aria-labelledby="details-title">
          <h2 id="details-title">{row ? `Row ${row.line}` : "Details"}</h2>
          {row ? <Details row={row} mark={marks.get(row.line)} onMark={mark} /> : <p>Choose a row to see it.</p>}
        </section>
      </main>
    </>
  );
}

const hasTexts = (rows: readonly Row[]): boolean => rows.some(({ title }) => title !== "");

interface ListProps {
  readonly rows: readonly Row[];
  readonly marks: ReadonlyMap<number, Mark>;
  readonly at: number;
  readonly onSelect: (at: number) => void;
}

/** Only the rows that are seen are there. */
function List({ rows, marks, at, onSelect }: ListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const [from, to] = [at * rowHeight, (at + 1) * rowHeight];
    if (from < element.scrollTop) element.scrollTop = from;
    else if (to > element.scrollTop + element.clientHeight) element.scrollTop = to - element.clientHeight;
  }, [at]);
  const first = Math.max(0, Math.floor(top / rowHeight) - spare);
  const seen = rows.slice(first, Math.ceil((top + height) / rowHeight) + spare);
  return (
    <div
      class="list"
      ref={box}
      role="listbox"
      tabIndex={0}
      aria-label="Rows"
      aria-activedescendant={rows.length > 0 ? `row-${at}` : undefined}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
    >
      <div style={{ height: `${rows.length * rowHeight}px` }} role="presentation">
        {seen.map((row, index) => (
          <div
            key={row.line}
            id={`row-${first + index}`}
            class={first + index === at ? "line at" : "line"}
            role="option"
            tabIndex={-1}
            aria-selected={first + index === at}
            style={{ top: `${(first + index) * rowHeight}px` }}
            onClick={() => onSelect(first + index)}
            onKeyDown={(event) => event.key === "Enter" && onSelect(first + index)}
          >
            <span class="margin">{row.margin === undefined ? "" : signed(row.margin)}</span>
            <span class="title">{row.title || row.id}</span>
            <span class={`mark ${marks.get(row.line) ?? ""}`}>{marks.get(row.line) ?? ""}</span>
          </div>
        ))}
      </div>
    </div>
  );
}

const app = document.getElementById("app");
if (app) render(<Explorer />, app);

/** @file The lines of a file of pairs or results, as a table of rows that a page can show, sort and mark. */

export type Mark = "right" | "wrong" | "tie";

export interface Row {
  /** In the file, from 1. */
  readonly line: number;
  readonly id: string;
  /** chosen less rejected, or the best score less the second. */
  readonly margin: number | undefined;
  readonly title: string;
  readonly record: Readonly<Record<string, unknown>>;
}

/** Reads a file piece by piece, so that the page stays awake. -> the rows, and how many lines are no JSON objects */
export async function readRows(
  file: Blob,
  onProgress: (share: number) => void,
): Promise<{ readonly rows: Row[]; readonly bad: number }> {
  const rows: Row[] = [];
  let [bad, line, rest, bytes] = [0, 0, "", 0];
  const take = (text: string) => {
    line++;
    if (text.trim() === "") return;
    const row = rowOf(text, line);
    if (row) rows.push(row);
    else bad++;
  };
  const decoder = new TextDecoder();
  for await (const chunk of file.stream() as unknown as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const text of lines) take(text);
    onProgress(bytes / file.size);
    await new Promise((resolve) => setTimeout(resolve));
  }
  if (rest !== "") take(rest);
  return { rows, bad };
}

export function rowOf(text: string, line: number): Row | undefined {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof record !== "object" || record === null || Array.isArray(record)) return undefined;
  const values = record as Readonly<Record<string, unknown>>;
  return { line, id: String(values.id ?? line - 1), margin: marginOf(values), title: titleOf(values), record: values };
}

function marginOf({ margin, chosen, rejected, scores }: Readonly<Record<string, unknown>>): number | undefined {
  if (typeof margin === "number") return margin;
  if (typeof chosen === "number" && typeof rejected === "number") return chosen - rejected;
  if (!Array.isArray(scores) || scores.length < 2 || !scores.every((score) => typeof score === "number"))
    return undefined;
  const [best = 0, second = 0] = scores.toSorted((a, b) => b - a);
  return best - second;
}

function titleOf({
  messages,
  prompt,
  question,
  conversations,
  instruction,
  error,
}: Readonly<Record<string, unknown>>): string {
  const turns = [messages, prompt, conversations].find(Array.isArray);
  const last = turns?.findLast((turn) => ["user", "human"].includes(turn?.role ?? turn?.from)) ?? turns?.at(-1);
  const text = [textOf(last?.content ?? last?.value), prompt, question, instruction].find(
    (value) => typeof value === "string" && value !== "",
  );
  if (text) return String(text).slice(0, 300);
  return typeof error === "object" && error !== null && "message" in error ? String(error.message) : "";
}

/** Of a message's content, an answer, a message or a list of them. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(textOf).filter(Boolean).join(" ");
  if (typeof value !== "object" || value === null) return "";
  const { text, content, value: own } = value as Readonly<Record<string, unknown>>;
  return textOf(text ?? content ?? own ?? "");
}

/** Addresses of pictures that a page can show: data URLs and http(s). Others are only named. */
export function picturesIn(value: unknown, found: string[] = []): string[] {
  if (Array.isArray(value)) for (const entry of value) picturesIn(entry, found);
  else if (typeof value === "object" && value !== null) {
    for (const [key, entry] of Object.entries(value)) {
      const isSource = typeof entry === "string" && /^(image|images|url|path|image_url)$/.test(key);
      if (isSource) found.push(entry);
      else picturesIn(entry, found);
    }
  }
  return [...new Set(found)];
}

/** Rows of a second file, of results, beside those of a file of records: margins by the id. */
export function joined(rows: readonly Row[], results: readonly Row[]): Row[] {
  const margins = new Map(results.map(({ id, margin }) => [id, margin]));
  return rows.map((row) => ({ ...row, margin: margins.get(row.id) ?? row.margin }));
}

/** A person's marks as JSON Lines: pairs as `train` takes them, a wrong one turned round, a tie left out; of others who was marked how. */
export function markedLines(rows: readonly Row[], marks: ReadonlyMap<number, Mark>): string {
  const lines = rows.flatMap(({ line, id, record }) => {
    const mark = marks.get(line);
    if (mark === undefined) return [];
    const { chosen, rejected } = record;
    const isPair = chosen !== undefined && rejected !== undefined && typeof chosen !== "number";
    if (!isPair) return [JSON.stringify({ id, mark })];
    if (mark === "tie") return [];
    return [JSON.stringify(mark === "right" ? record : { ...record, chosen: rejected, rejected: chosen })];
  });
  return lines.map((line) => `${line}\n`).join("");
}

/** @file One row, whole: its pictures, its texts, its numbers, and a person's mark. */

import { signed } from "../numbers.ts";
import { type Mark, picturesIn, type Row, textOf } from "./rows.ts";

interface Props {
  readonly row: Row;
  readonly mark: Mark | undefined;
  readonly onMark: (mark: Mark) => void;
}

const answers = ["chosen", "rejected", "responses"] as const;

export function Details({ row, mark, onMark }: Props) {
  const { record, margin, title } = row;
  const pictures = picturesIn(record);
  const shown = pictures.filter((source) => source.startsWith("data:image/"));
  const named = pictures.filter((source) => !source.startsWith("data:"));
  return (
    <article class="details">
      <div class="row" role="group" aria-label="Mark">
        {(["right", "wrong", "tie"] as const).map((value) => (
          <button
            type="button"
            key={value}
            aria-pressed={mark === value}
            class={mark === value ? "primary" : ""}
            onClick={() => onMark(value)}
          >
            {value} <kbd>{value[0]}</kbd>
          </button>
        ))}
        {margin !== undefined && <span class="label">margin {signed(margin)}</span>}
      </div>
      {shown.map((source) => (
        <img key={source} src={source} alt="Of this row" />
      ))}
      {named.length > 0 && <p class="label">{named.join(", ")}</p>}
      <p class="prompt">{title}</p>
      {answers.flatMap((key) => {
        const value = record[key];
        if (value === undefined) return [];
        const texts = key === "responses" && Array.isArray(value) ? value : [value];
        return texts.map((text, index) => (
          <section key={`${key} ${index}`} class={`text ${key}`}>
            <h3>{texts.length > 1 ? `${key} ${index + 1}` : key}</h3>
            <p>{typeof text === "number" ? signed(text) : textOf(Array.isArray(text) ? text.at(-1) : text)}</p>
          </section>
        ));
      })}
      <details>
        <summary>As it stands in the file</summary>
        <pre>
          {JSON.stringify(
            record,
            (_, value) => (typeof value === "string" && value.length > 2000 ? `${value.slice(0, 200)}…` : value),
            2,
          )}
        </pre>
      </details>
    </article>
  );
}

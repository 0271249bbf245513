/** @file The question, and the pictures and videos that it is about: dropped, pasted or chosen. */

import { useState } from "preact/hooks";
import type { Draft } from "./draft.ts";
import { mediumOf } from "./media.ts";

interface Props {
  readonly draft: Draft;
  readonly onChange: (draft: Draft) => void;
  readonly onProblem: (text: string) => void;
}

export function Question({ draft, onChange, onProblem }: Props) {
  const [isOver, setOver] = useState(false);
  const { media } = draft;

  function add(files: readonly File[]) {
    const found = files.map((file) => mediumOf(file, file.name || "pasted picture"));
    const wrong = files.filter((_, index) => found[index] === undefined);
    if (wrong.length > 0) onProblem(`${wrong.map(({ name }) => name).join(", ")}: no picture and no video`);
    onChange({ ...draft, media: [...media, ...found.filter((medium) => medium !== undefined)] });
  }

  return (
    <div
      class={isOver ? "drop over" : "drop"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        add([...(event.dataTransfer?.files ?? [])]);
      }}
      onPaste={(event) => {
        const files = [...(event.clipboardData?.files ?? [])];
        if (files.length === 0) return;
        event.preventDefault();
        add(files);
      }}
    >
      <ul class="media" aria-label="Pictures and videos">
        {media.map((medium, index) => (
          <li key={medium.url}>
            {medium.kind === "image" ? (
              <img src={medium.url} alt={medium.name} />
            ) : (
              // biome-ignore lint/a11y/useMediaCaption: a person's own clip has none
              <video src={medium.url} controls aria-label={medium.name} />
            )}
            <button
              type="button"
              class="remove"
              aria-label={`Remove ${medium.name}`}
              onClick={() => onChange({ ...draft, media: media.filter((_, at) => at !== index) })}
            >
              ×
            </button>
          </li>
        ))}
        <li class="add">
          <label class="file">
            <span>
              Add a picture or video
              <small>or drop or paste it here</small>
            </span>
            <input
              type="file"
              accept="image/*,video/*"
              multiple
              onChange={(event) => {
                add([...(event.currentTarget.files ?? [])]);
                event.currentTarget.value = "";
              }}
            />
          </label>
        </li>
      </ul>
      <textarea
        class="question"
        aria-label="Question"
        placeholder="What is asked?"
        rows={3}
        value={draft.question}
        onInput={(event) => onChange({ ...draft, question: event.currentTarget.value })}
      />
    </div>
  );
}

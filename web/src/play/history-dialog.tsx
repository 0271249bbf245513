/** @file Drafts of before, to be opened again. */

import { useState } from "preact/hooks";
import type { CandidatesRecord } from "../api.ts";
import { Dialog } from "../dialog.tsx";
import { entries, forget } from "./history.ts";

interface Props {
  readonly onClose: () => void;
  readonly onOpen: (record: CandidatesRecord) => void;
}

export function HistoryDialog({ onClose, onOpen }: Props) {
  const [kept, setKept] = useState(entries);
  return (
    <Dialog title="History" onClose={onClose}>
      {kept.length === 0 && <p>Nothing yet. What you rank is kept in this browser.</p>}
      <ul class="history">
        {kept.map(({ at, record, best }) => (
          <li key={at}>
            <button
              type="button"
              onClick={() => {
                onOpen(record);
                onClose();
              }}
            >
              <strong>{questionOf(record)}</strong>
              <span>{best}</span>
              <time dateTime={new Date(at).toISOString()}>{new Date(at).toLocaleString()}</time>
            </button>
          </li>
        ))}
      </ul>
      {kept.length > 0 && (
        <button
          type="button"
          onClick={() => {
            forget();
            setKept([]);
          }}
        >
          Forget all
        </button>
      )}
    </Dialog>
  );
}

function questionOf({ messages }: CandidatesRecord): string {
  const content = messages.at(-1)?.content ?? "";
  if (typeof content === "string") return content;
  return content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join(" ");
}

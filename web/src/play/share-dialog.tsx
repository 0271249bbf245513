/** @file A draft for somebody else: as a link, or as a line for `vl-reward score`. */

import { useEffect, useState } from "preact/hooks";
import { Dialog } from "../dialog.tsx";
import { type Draft, toFragment, wholeRecord } from "./draft.ts";

const longestLink = 60_000; // characters: what browsers and chats pass on

export function ShareDialog({ draft, onClose }: { readonly draft: Draft; readonly onClose: () => void }) {
  const [line, setLine] = useState("");
  const [link, setLink] = useState("");
  const [copied, setCopied] = useState("");
  useEffect(() => {
    void wholeRecord(draft).then((record) => setLine(JSON.stringify(record)));
    void toFragment(draft).then((fragment) => setLink(`${location.origin}/${fragment}`));
  }, [draft]);
  const copy = async (name: string, text: string) => {
    await navigator.clipboard.writeText(text);
    setCopied(`${name} copied`);
  };
  return (
    <Dialog title="Share" onClose={onClose}>
      {link.length > longestLink ? (
        <p>The pictures are too large for a link; send the line below.</p>
      ) : (
        <label>
          Link, everything inside
          <input readOnly value={link} onFocus={(event) => event.currentTarget.select()} />
        </label>
      )}
      <label>
        A line for <code>vl-reward score</code>
        <textarea readOnly rows={4} value={line} onFocus={(event) => event.currentTarget.select()} />
      </label>
      <div class="row">
        <button
          type="button"
          class="primary"
          onClick={() => void copy("Link", link)}
          disabled={link.length > longestLink}
        >
          Copy link
        </button>
        <button type="button" onClick={() => void copy("Line", line)}>
          Copy line
        </button>
        <span role="status">{copied}</span>
      </div>
    </Dialog>
  );
}

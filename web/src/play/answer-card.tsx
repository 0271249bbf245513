/** @file One answer: its text, and where it stands by each model that judges. */

import type { TokenReward } from "../api.ts";
import { signed } from "../numbers.ts";
import { stepsOf, strength } from "./tokens.ts";

interface Verdict {
  readonly model: string;
  readonly showsModel: boolean;
  readonly score: number | undefined;
  /** From 1. */
  readonly place: number | undefined;
  /** The best answer's reward less this one's. */
  readonly behind: number;
  readonly tokens: readonly TokenReward[];
}

interface Props {
  readonly number: number;
  readonly answer: string;
  readonly verdicts: readonly Verdict[];
  /** The rewards that bars lie between, and the largest change that a token made. */
  readonly scale: { readonly least: number; readonly most: number; readonly largest: number };
  readonly onChange: (text: string) => void;
  readonly onRemove: (() => void) | undefined;
}

export function AnswerCard({ number, answer, verdicts, scale, onChange, onRemove }: Props) {
  const isBest = verdicts[0]?.place === 1;
  return (
    <li class={isBest ? "answer best" : "answer"}>
      <div class="row">
        <textarea
          aria-label={`Answer ${number}`}
          placeholder={`Answer ${number}`}
          rows={2}
          value={answer}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
        {onRemove && (
          <button type="button" class="remove" aria-label={`Remove answer ${number}`} onClick={onRemove}>
            ×
          </button>
        )}
      </div>
      {verdicts.map((verdict) => (
        <Standing key={verdict.model} {...verdict} scale={scale} />
      ))}
    </li>
  );
}

function Standing({ model, showsModel, score, place, behind, tokens, scale }: Verdict & Pick<Props, "scale">) {
  if (score === undefined || place === undefined) return null;
  const width = scale.most - scale.least || 1;
  const at = (value: number) => `${(100 * (value - scale.least)) / width}%`;
  const [from, to] = [Math.min(0, score), Math.max(0, score)];
  return (
    <>
      <div class="standing">
        <span class="place">{place === 1 ? "1st" : place === 2 ? "2nd" : place === 3 ? "3rd" : `${place}th`}</span>
        {showsModel && <span class="model">{model}</span>}
        <span class="track" aria-hidden="true">
          <span class="zero" style={{ left: at(0) }} />
          <span
            class={score < 0 ? "bar negative" : "bar"}
            style={{ left: at(from), width: `${(100 * (to - from)) / width}%` }}
          />
        </span>
        <span class="score">{signed(score)}</span>
        <span class="behind">{behind > 0 ? `${signed(-behind)} to the best` : ""}</span>
      </div>
      {tokens.length > 0 && <Tokens tokens={tokens} largest={scale.largest} />}
    </>
  );
}

function Tokens({ tokens, largest }: { readonly tokens: readonly TokenReward[]; readonly largest: number }) {
  return (
    <p class="tokens">
      {stepsOf(tokens).map(({ text, reward, change }, index) => (
        <span
          key={index}
          class={`token c${strength(change, largest)}`}
          title={`${signed(change)} here, reward so far ${signed(reward)}`}
        >
          {text}
        </span>
      ))}
    </p>
  );
}

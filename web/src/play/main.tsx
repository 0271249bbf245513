/** @file The playground: a question, its pictures, answers; ranked while one types. */

import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Model, type Ranking, rank, models as servedModels } from "../api.ts";
import { Header } from "../header.tsx";
import { AnswerCard } from "./answer-card.tsx";
import { type Draft, draftOf, emptyDraft, fromFragment, isComplete, recordOf } from "./draft.ts";
import { examples } from "./examples.ts";
import { remember } from "./history.ts";
import { HistoryDialog } from "./history-dialog.tsx";
import { Question } from "./question.tsx";
import { ShareDialog } from "./share-dialog.tsx";
import { stepsOf } from "./tokens.ts";

const pause = 250; // milliseconds after the last key
const settled = 3000; // after which a draft belongs to the history

/** What a model says of a draft; the places of answers that are empty have nothing. */
interface Judged {
  readonly model: string;
  readonly scores: readonly (number | undefined)[];
  readonly ranking: Ranking;
  readonly indices: readonly number[];
}

function Playground() {
  const [draft, setDraft] = useState<Draft>(emptyDraft);
  const [served, setServed] = useState<readonly Model[]>([]);
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [judged, setJudged] = useState<readonly Judged[]>([]);
  const [status, setStatus] = useState("Write a question and two answers, or open an example.");
  const [isWrong, setWrong] = useState(false);
  const [showsTokens, setShowsTokens] = useState(false);
  const [dialog, setDialog] = useState<"history" | "share">();
  const list = useRef<HTMLOListElement>(null);

  useEffect(() => {
    servedModels()
      .then((models) => {
        setServed(models);
        setChosen(models.slice(0, 1).map(({ id }) => id));
      })
      .catch((error: Error) => tell(error.message, true));
    fromFragment(location.hash)
      .then((linked) => linked && setDraft(linked))
      .catch(() => tell("This link is damaged.", true));
  }, []);

  function tell(text: string, wrong = false) {
    setStatus(text);
    setWrong(wrong);
  }

  useEffect(() => {
    if (!isComplete(draft) || chosen.length === 0) return setJudged([]);
    const ended = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const { record, indices } = await recordOf(draft, ended.signal);
        const rankings = await Promise.all(chosen.map((model) => rank(record, model, ended.signal)));
        setJudged(
          rankings.map((ranking, at) => ({
            model: chosen[at] ?? "",
            ranking,
            indices,
            scores: draft.answers.map((_, index) => ranking.scores[indices.indexOf(index)]),
          })),
        );
        const best = record.responses[rankings[0]?.best ?? 0] ?? "";
        tell(indices.length > 1 ? `Best: ${best}` : "Add a second answer to compare.");
      } catch (error) {
        if (!ended.signal.aborted) tell(error instanceof Error ? error.message : String(error), true);
      }
    }, pause);
    return () => {
      clearTimeout(timer);
      ended.abort();
    };
  }, [draft, chosen]);

  useEffect(() => {
    const [first] = judged;
    if (!first || first.indices.length < 2) return;
    const timer = setTimeout(
      () => remember(draft, draft.answers[first.indices[first.ranking.best] ?? 0] ?? ""),
      settled,
    );
    return () => clearTimeout(timer);
  }, [judged]);

  const { least, most } = useMemo(() => {
    const all = judged.flatMap(({ ranking }) => ranking.scores);
    return { least: Math.min(0, ...all), most: Math.max(0, ...all) };
  }, [judged]);
  const largest = useMemo(() => {
    const changes = judged.flatMap(({ ranking }) =>
      ranking.tokens.flatMap((tokens) => stepsOf(tokens).map(({ change }) => Math.abs(change))),
    );
    return Math.max(0, ...changes);
  }, [judged]);

  const setAnswer = (index: number, text: string) =>
    setDraft({ ...draft, answers: draft.answers.map((answer, at) => (at === index ? text : answer)) });
  const removeAnswer = (index: number) =>
    setDraft({ ...draft, answers: draft.answers.filter((_, at) => at !== index) });
  const addAnswer = () => {
    setDraft({ ...draft, answers: [...draft.answers, ""] });
    requestAnimationFrame(() => list.current?.querySelector<HTMLTextAreaElement>("li:last-child textarea")?.focus());
  };
  const sort = () => {
    const [scores] = judged.map((one) => one.scores);
    const order = draft.answers
      .map((_, index) => index)
      .sort((a, b) => (scores?.[b] ?? -Infinity) - (scores?.[a] ?? -Infinity));
    setDraft({ ...draft, answers: order.map((index) => draft.answers[index] ?? "") });
  };
  const open = (found: Promise<Draft>) => void found.then(setDraft).catch((error: Error) => tell(error.message, true));

  return (
    <>
      <Header page="play" />
      <main class="play">
        <section aria-labelledby="question-title">
          <h2 id="question-title">Question</h2>
          <Question draft={draft} onChange={setDraft} onProblem={(text) => tell(text, true)} />
          <div class="row" role="group" aria-label="Examples">
            <span class="label">Examples</span>
            {examples.map(({ name, open: openExample }) => (
              <button type="button" class="chip" key={name} onClick={() => open(openExample())}>
                {name}
              </button>
            ))}
          </div>
          <ModelChoice served={served} chosen={chosen} onChange={setChosen} />
          <div class="row">
            <button type="button" onClick={() => setDialog("share")} disabled={!isComplete(draft)}>
              Share
            </button>
            <button type="button" onClick={() => setDialog("history")}>
              History
            </button>
            <button type="button" onClick={() => setDraft(emptyDraft)}>
              Clear
            </button>
          </div>
        </section>
        <section aria-labelledby="answers-title">
          <div class="row spread">
            <h2 id="answers-title">Answers</h2>
            <label class="switch">
              <input
                type="checkbox"
                checked={showsTokens}
                onChange={(event) => setShowsTokens(event.currentTarget.checked)}
              />
              Show what each token did
            </label>
          </div>
          <p class={isWrong ? "status wrong" : "status"} role="status">
            {status}
          </p>
          <ol class="answers" ref={list}>
            {draft.answers.map((answer, index) => (
              <AnswerCard
                key={index}
                number={index + 1}
                answer={answer}
                scale={{ least, most, largest }}
                verdicts={judged.map(({ model, scores, ranking, indices }) => ({
                  model,
                  showsModel: judged.length > 1,
                  score: scores[index],
                  place: placeOf(scores, index),
                  behind: (ranking.scores[ranking.best] ?? 0) - (scores[index] ?? 0),
                  tokens: showsTokens ? (ranking.tokens[indices.indexOf(index)] ?? []) : [],
                }))}
                onChange={(text) => setAnswer(index, text)}
                onRemove={draft.answers.length > 1 ? () => removeAnswer(index) : undefined}
              />
            ))}
          </ol>
          <div class="row">
            <button type="button" class="primary" onClick={addAnswer}>
              Add an answer
            </button>
            <button type="button" onClick={sort} disabled={judged.length === 0}>
              Best first
            </button>
          </div>
        </section>
      </main>
      {dialog === "share" && <ShareDialog draft={draft} onClose={() => setDialog(undefined)} />}
      {dialog === "history" && (
        <HistoryDialog onClose={() => setDialog(undefined)} onOpen={(record) => open(draftOf(record))} />
      )}
    </>
  );
}

/** From 1, of those that have a score. */
function placeOf(scores: readonly (number | undefined)[], index: number): number | undefined {
  const own = scores[index];
  return own === undefined ? undefined : 1 + scores.filter((score) => score !== undefined && score > own).length;
}

interface ModelChoiceProps {
  readonly served: readonly Model[];
  readonly chosen: readonly string[];
  readonly onChange: (chosen: readonly string[]) => void;
}

/** With several models, two may judge side by side. */
function ModelChoice({ served, chosen, onChange }: ModelChoiceProps) {
  if (served.length < 2) return null;
  const [first = "", second = ""] = chosen;
  const options = served.map(({ id }) => (
    <option key={id} value={id}>
      {id}
    </option>
  ));
  return (
    <div class="row">
      <label>
        Model{" "}
        <select value={first} onChange={(event) => onChange([event.currentTarget.value, ...chosen.slice(1)])}>
          {options}
        </select>
      </label>
      <label>
        beside{" "}
        <select
          value={second}
          onChange={(event) =>
            onChange(event.currentTarget.value === "" ? [first] : [first, event.currentTarget.value])
          }
        >
          <option value="">none</option>
          {options}
        </select>
      </label>
    </div>
  );
}

const app = document.getElementById("app");
if (app) render(<Playground />, app);

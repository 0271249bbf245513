/** @file What the groups of a pass ask, sorted by reader: equal requests of several groups are read off a stream together. */
import type { BranchWork, PromptWork } from "../pass/plan.ts";
import type { Hidden } from "../pass/stream.ts";
import type { ReadAnswer, Reader, ReadModel, ReadRequest } from "./reader.ts";
import { readerOf } from "./readers.ts";

/** For each branch of a group, in order: one answer to each request. */
export type Answers = readonly (readonly ReadAnswer[])[];

/** Which hidden states of a prompt's conversations are read: more and more of them. */
const rowKinds = ["end", "branch", "conversation"] as const;
export type RowKind = (typeof rowKinds)[number];

interface Question {
  readonly reader: Reader<ReadAnswer>;
  /** For each group that asks it, which of its requests it is: one, unless it asks the same twice. */
  readonly askedBy: Map<number, number[]>;
}

export class Questions {
  readonly #questions: readonly Question[];

  /** @param requests of each group */
  constructor(requests: readonly (readonly ReadRequest[])[], model: ReadModel) {
    const questions = new Map<string, Question>();
    for (const [group, own] of requests.entries()) {
      for (const [index, request] of own.entries()) {
        const key = JSON.stringify(request);
        const question = questions.get(key) ?? { reader: readerOf(request, model), askedBy: new Map() };
        question.askedBy.set(group, [...(question.askedBy.get(group) ?? []), index]);
        questions.set(key, question);
      }
    }
    this.#questions = [...questions.values()];
  }

  /** The most that is asked of a prompt's conversations. */
  rowsFor({ branches }: PromptWork): RowKind {
    const groups = new Set(branches.flatMap(({ readers }) => readers.map(({ group }) => group)));
    const kinds = this.#questions
      .filter(({ askedBy }) => [...groups].some((group) => askedBy.has(group)))
      .map(({ reader }) => rowKinds.indexOf(reader.rows));
    return rowKinds[Math.max(0, ...kinds)] ?? "end";
  }

  /** Reads a stream and puts what was asked into `answers`, by group, branch and request. */
  read(hidden: Hidden, branches: readonly BranchWork[], answers: readonly (readonly ReadAnswer[][])[]): void {
    const members = branches.map(({ span, answerTokens }) => ({ ids: span.ids, answerTokens }));
    for (const { reader, askedBy } of this.#questions) {
      const asked = [...branches.keys()].filter((index) =>
        branches[index]?.readers.some(({ group }) => askedBy.has(group)),
      );
      if (asked.length === 0) continue;
      for (const [index, answer] of reader.read(hidden, members, asked).entries()) {
        for (const { group, branch } of branches[asked[index] ?? -1]?.readers ?? []) {
          const own = answers[group]?.[branch];
          for (const request of askedBy.get(group) ?? []) if (own) own[request] = answer;
        }
      }
    }
  }
}

/**
 * @file SGLang's /v1/score: items behind a query, or before it. Token ids are joined as they are; texts are a prompt, rendered or a
 * bare question, and its answer.
 */

import { z } from "zod";
import { text } from "../../data/parts.ts";
import { scoresOf, usageOf } from "./answers.ts";
import type { Body, Dialect, Task } from "./dialect.ts";
import { has, invalid, isOn, modelOf, optional, read, texts, tokenIds } from "./fields.ts";
import { idsTask } from "./prompts.ts";
import { readExchange, readRendered } from "./rendered.ts";

export const sglangScore: Dialect = {
  name: "sglang-score",
  title: "SGLang /v1/score",
  paths: ["/v1/score"],
  errors: "sglang",
  shape: '{"query"?: string | [int, ...], "items": string | [string, ...] | [[int, ...], ...], "item_first"?}',
  example: { query: "Which number is the largest: 187, 339, 243, 5?", items: ["It is 339.", "It is 243."] },
  detects: (body) => has(body, "query") || (has(body, "items") && !has(body, "queries")),
  read: (body) => {
    assertOneLabel(body);
    return {
      tasks: readItems(body),
      model: modelOf(body),
      answer: (results, { model }) => ({
        scores: scoresOf(results).map((score) => [score]),
        pooled_hidden_states: null,
        token_logprobs: null,
        model,
        usage: usageOf(results),
        object: "scoring",
      }),
    };
  },
};

/** A reward model has one number where others have one for each label. */
function assertOneLabel(body: Body): void {
  if (isOn(body, "apply_softmax")) {
    throw invalid("apply_softmax: the softmax of one number is 1 whatever it is; leave it out, the reward is raw");
  }
  const labels = optional(tokenIds, body, "label_token_ids") ?? [];
  if (labels.length > 1) {
    throw invalid(`label_token_ids: a reward is one number, found ${labels.length} labels; leave the key out`);
  }
}

function readItems(body: Body): Task[] {
  const { items } = body;
  const query = optional(z.union([text, tokenIds], "a string or a list of token ids"), body, "query");
  const isFirst = isOn(body, "item_first");
  if (typeof query !== "object" && (typeof items === "string" || isTexts(items))) {
    const all = typeof items === "string" ? [read(text, items, ["items"])] : read(texts, items, ["items"]);
    return all.map((item, index) => textTask(query, item, isFirst, `items[${index}]`));
  }
  if (typeof query === "string") throw invalid("items: expected texts, as the query is one");
  const all = read(z.array(tokenIds, "a list of lists of token ids"), items, ["items"]);
  return all.map((item, index) =>
    idsTask(isFirst ? [...item, ...(query ?? [])] : [...(query ?? []), ...item], ["items", index]),
  );
}

const isTexts = (items: unknown): boolean => Array.isArray(items) && items.every((item) => typeof item === "string");

function textTask(query: string | undefined, item: string, isFirst: boolean, key: string): Task {
  if (query === undefined || query === "") return readRendered(item, undefined, key);
  return isFirst
    ? readExchange(item, query, undefined, [key, "query"])
    : readExchange(query, item, undefined, ["query", key]);
}

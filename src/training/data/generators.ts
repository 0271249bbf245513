/** @file The generators that a configuration can name, as sources. */

import { createHash } from "node:crypto";
import { below, randomStream } from "../../data/random.ts";
import { camelCase, snakeCase } from "../../files/camel-case.ts";
import { type DocumentSpec, type SyntheticDocument, syntheticDocument } from "../../synthetic/document.ts";
import { syntheticPreference } from "../../synthetic/preference.ts";
import type { DataSource } from "../config/config.ts";
import { syntheticOptions } from "../config/config-schema.ts";
import { GeneratedSource } from "./generated-source.ts";
import type { RecordSource } from "./record-source.ts";

type SyntheticOptions = NonNullable<DataSource["options"]>;

/** That a synthetic document has at most, and wrong answers to each. */
const [questions, wrong] = [4, 3];
/** What computing a question and its answers costs, in tokens, and how much of a picture costs as much as one. */
const [textTokens, pixelsPerToken] = [40, 1200];
/** Documents that tell one version of a generator from another. */
const sampled = 4;

/**
 * -> the source that `data` describes, and a hash of its first documents: where it is another one, so is the run
 *
 * @param seed the run's
 * @param use the place in the configuration: generators without a seed of their own make other documents in each
 */
export function generatedSource(
  { options = camelCase(syntheticOptions.parse({})), count }: Pick<DataSource, "options" | "count">,
  seed: number,
  use: readonly (string | number)[],
): { readonly source: RecordSource; readonly fingerprint: string } {
  const specOf = specs(options, options.seed ?? randomStream("documents", seed, ...use)());
  const document = (index: number): SyntheticDocument => syntheticDocument(specOf(index));
  const generator = {
    name: `synthetic ${JSON.stringify(snakeCase(options))}`,
    questions,
    pairs: wrong,
    tokens: (index: number) => textTokens + specOf(index).size ** 2 / pixelsPerToken,
    document,
    preference: (made: SyntheticDocument, question: number) =>
      question < made.questions.length ? syntheticPreference(made, question) : undefined,
  };
  const source = new GeneratedSource(generator, count ?? Number.POSITIVE_INFINITY);
  return { source, fingerprint: fingerprintOf(document) };
}

/** -> what the document of a number is: level and size of the picture are drawn anew for each */
function specs(options: SyntheticOptions, seed: number): (index: number) => DocumentSpec {
  const { split, levels, sizes, wording, weights, blank } = options;
  return (index) => {
    const random = randomStream("document", seed, index);
    const pick = <Value>(values: readonly Value[], otherwise: Value): Value =>
      values[below(values.length, random)] ?? otherwise;
    return {
      seed,
      index,
      split,
      level: pick(levels, 3),
      size: pick(sizes, 112),
      wrong,
      blank,
      ...(wording && { wording }),
      ...(weights && { weights }),
    };
  };
}

/** Of facts, texts and pixels, not of the picture's file, which another version of zlib may pack otherwise. */
function fingerprintOf(document: (index: number) => SyntheticDocument): string {
  const hash = createHash("sha256");
  for (let index = 0; index < sampled; index++) {
    const { facts, questions: asked, picture } = document(index);
    hash.update(JSON.stringify([facts, asked, picture?.width, picture?.height])).update(picture?.data ?? "");
  }
  return hash.digest("hex");
}

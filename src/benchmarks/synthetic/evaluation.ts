/** @file What the benchmark finds, as it stands in its JSON file. */
import { z } from "zod";
import { VlRewardError } from "../../errors.ts";
import { type CamelCase, camelCase } from "../../files/camel-case.ts";
import { type Category, categories, type DocumentKind } from "../../synthetic/question.ts";

const interval = z.tuple([z.number(), z.number()]).readonly();
const share = { correct: z.int(), count: z.int(), accuracy: z.number(), interval };
const category = z.enum(Object.values(categories).flat());

const judged = {
  category,
  /** The right answer against one wrong one; a tie is wrong. */
  pairs: z.object(share),
  /** The right answer against all wrong ones there are, up to seven; `chance`: what guessing would give. */
  choice: z.object({ ...share, answers: z.number(), chance: z.number() }),
  /** The same pairs and more, judged without pictures by a model that was trained without; absent for texts. */
  control: z.object(share).optional(),
};

export const evaluationSchema = z.object({
  benchmark: z.literal("synthetic"),
  /** Where the run did not come to its end: then only the categories that were done stand here. */
  incomplete: z.literal(true).optional(),
  model: z.string(),
  control: z.string().optional(),
  parameters: z.int(),
  seed: z.int(),
  questions: z.int(),
  control_questions: z.int().optional(),
  questions_by_size: z.int(),
  versions: z.record(z.string(), z.string()),
  device: z.string(),
  dtype: z.string(),
  held_out: z.array(
    z.object({
      ...judged,
      /** By size of the picture; `difference` to the first size, on the same questions. */
      sizes: z.array(
        z.object({ size: z.int(), accuracy: z.number(), difference: z.object({ mean: z.number(), interval }) }),
      ),
    }),
  ),
  unseen: z.array(z.object(judged)),
  calibration: z.object({
    bins: z.array(z.object({ from: z.number(), to: z.number().optional(), ...share, expected: z.number() })),
    /** Margins between 0.8 and 1.2. */
    near_one: z.object(share),
    error: z.number(),
  }),
});

export type SyntheticEvaluation = CamelCase<z.infer<typeof evaluationSchema>>;
export type CategoryResult = SyntheticEvaluation["heldOut"][number];

/** @throws VlRewardError `config_invalid` for what is no such file */
export function readEvaluation(text: string, file: string): SyntheticEvaluation {
  try {
    return camelCase(evaluationSchema.parse(JSON.parse(text)));
  } catch (cause) {
    const what = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new VlRewardError("config_invalid", `${file} is not what \`vl-reward evaluate synthetic\` writes: ${what}`, {
      cause,
    });
  }
}

/** A category that is right less often than this is not supported. */
export const supportedFrom = 0.75;

export const kindOf = (category: Category): DocumentKind =>
  (Object.keys(categories) as DocumentKind[]).find((kind) => categories[kind].some((own) => own === category)) ??
  "text";

/** The mean over the categories of a kind, as far as they were measured. */
export function meanOf(results: readonly Pick<CategoryResult, "category" | "pairs">[], kind: DocumentKind): number {
  const own = results.filter(({ category }) => kindOf(category) === kind);
  return own.reduce((sum, { pairs }) => sum + pairs.accuracy, 0) / own.length;
}

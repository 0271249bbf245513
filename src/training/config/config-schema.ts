/**
 * @file Every key of a training configuration, once: what it expects, its default and what it is for. The types, the
 * messages, `vl-reward train --help` and the table in docs/training.md are made of this.
 *
 * A schema's message says what it expects ("a positive number"). That a key stands once in one place is YAML's business,
 * and whether a file or a model exists is settled later.
 */

import { z } from "zod";
import { categories } from "../../synthetic/question.ts";
import { splits } from "../../synthetic/world.ts";
import { objectives } from "../objectives/registry.ts";

const count = z.int("a positive whole number").positive("a positive whole number");
const wholeFromZero = z.int("a whole number from 0").nonnegative("a whole number from 0");
const positive = z.number("a positive number").positive("a positive number");
const fromZero = z.number("a number from 0").nonnegative("a number from 0");
const fraction = z
  .number("a number from 0 to below 1")
  .min(0, "a number from 0 to below 1")
  .lt(1, "a number from 0 to below 1");
const flag = z.boolean("true or false");
const name = z.string("a name").min(1, "a name");

/** A path of the file system, with what stands there. */
const path = (what: string) => z.string(what).regex(/^[^\0]+$/, what);

/** One of a few words. */
function word<const Words extends readonly string[]>(...words: Words) {
  return z.enum(words, `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`.replace(/^ or /, ""));
}

/** The parts of the model, as `train` and `lora.targets` name them. */
export const modelParts = ["vision", "merger", "decoder", "head"] as const;

/** The decoder's linear layers, as PEFT's target_modules name them. */
const decoderLinears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;

/** Parts, or patterns of the names that a checkpoint has: they hold a dot or an asterisk, so a misspelt part is found. */
function partsOrPatterns(parts: readonly string[]) {
  const what = `a list of parts (${parts.join(", ")}) or name patterns (*.q_proj)`;
  const entry = z
    .string(`a part (${parts.join(", ")}) or a name pattern`)
    .refine((text) => parts.includes(text) || /[.*]/.test(text), {
      error: ({ input }) =>
        `${JSON.stringify(input)} is none of the parts ${parts.join(", ")}, and a name pattern has a dot or an asterisk`,
    });
  return z.array(entry, what).min(1, what);
}

/** Reports keys of which exactly one must be given. Runs whatever else is wrong, so that all is told at once. */
function exactlyOneOf(...keys: readonly [string, string, ...string[]]) {
  const choice = `either ${keys.slice(0, -1).join(", ")} or ${keys.at(-1)}`;
  return always((value, context) => {
    const given = keys.filter((key) => Object.hasOwn(value, key));
    if (given.length === 1) return;
    const found = given.length === 0 ? "neither" : given.length === 2 ? "both" : "all";
    context.addIssue({ code: "custom", message: `expected ${choice}, found ${found}`, path: given.slice(1, 2) });
  });
}

/** Reports keys that mean nothing without a generator. */
const generatorKeys = always((value, context) => {
  if (Object.hasOwn(value, "generator")) return;
  for (const key of ["options", "count"].filter((key) => Object.hasOwn(value, key))) {
    context.addIssue({ code: "custom", message: "this key belongs to a generator; there is none here", path: [key] });
  }
});

/** A check of an object, whatever is wrong with its keys. */
function always(check: (value: object, context: z.RefinementCtx<object>) => void) {
  const isObject = (value: unknown): boolean => typeof value === "object" && value !== null;
  return z.superRefine<object>(check, { when: ({ value }) => isObject(value) });
}

/** What may be said of the synthetic documents; `{}` is all defaults. */
export const syntheticOptions = z.strictObject(
  {
    split: word(...splits)
      .default("train")
      .describe(
        "train; held-out: other documents of the same kind; unseen: about colours of shapes that the others lack",
      ),
    levels: z
      .array(z.literal([0, 1, 2, 3], "a level from 0 to 3"), "a list of levels from 0 to 3")
      .min(1, "a list of levels, at least one")
      .default([3])
      .describe("of difficulty, drawn equally often: 0, one big thing in a picture, to 3, up to five"),
    sizes: z
      .array(count, "a list of sides in pixels")
      .min(1, "a list of sides in pixels, at least one")
      .default([112])
      .describe("sides of the pictures, drawn equally often"),
    wording: word("fixed", "varied")
      .exactOptional()
      .describe("fixed: an answer is worded as its question is; without it, fixed at the levels 0 and 1"),
    weights: z
      .partialRecord(
        z.enum(Object.values(categories).flat(), `a category (${Object.values(categories).flat().join(", ")})`),
        fromZero,
        "an object of categories and numbers",
      )
      .exactOptional()
      .describe("how often a category of questions is drawn, relative to the others named; without it, all alike"),
    blank: flag
      .default(false)
      .describe("true: grey pictures in place of drawn ones, for a model that shows what the texts alone give away"),
    seed: wholeFromZero
      .exactOptional()
      .describe("of the documents; without it, it follows from the run's and from the place in this file"),
  },
  "an object with the generator's keys",
);

const generated = {
  generator: word("synthetic")
    .exactOptional()
    .describe("makes records in place of a file; synthetic: pictures of shapes and charts, and texts"),
  options: syntheticOptions.exactOptional().describe("of the generator"),
};

const dataSource = z
  .strictObject(
    {
      path: path("a JSON Lines file of preferences")
        .exactOptional()
        .describe("the preferences, JSON Lines; either this or generator"),
      ...generated,
      count: count
        .exactOptional()
        .describe("documents of the generator, which come again and again; without it, each is a new one"),
      weight: positive
        .default(1)
        .describe(
          "how often an epoch has each pair; 0.5: half of them in turn. Of a generator without count: how many pairs it gives, " +
            "as a multiple of those of the stage's other entries",
        ),
    },
    "an object with path or generator, and weight if it is not 1",
  )
  .check(exactlyOneOf("path", "generator"))
  .check(generatorKeys);

const objective = z
  .strictObject(
    Object.fromEntries(
      objectives.map(({ name, about }, index) => [name, fromZero.default(index === 0 ? 1 : 0).describe(about)]),
    ),
    "an object with the weights of the losses",
  )
  .refine(
    (weights) => Object.values(weights).some((weight) => weight > 0),
    "expected one of the weights to be more than 0",
  )
  .prefault({});

const stage = z
  .strictObject(
    {
      name: name.default("training").describe("stands in the metrics; stages have different names"),
      data: z
        .array(dataSource, "a list of files and generators")
        .min(1, "a list of files and generators, at least one")
        .describe("the files and generators that are mixed"),
      epochs: positive.exactOptional().describe("how long, in epochs, also a fraction; either this or steps"),
      steps: count.exactOptional().describe("how long, in optimizer steps; the data goes round as often as needed"),
      batch_size: count.default(64).describe("pairs of an optimizer step, over all processes"),
      learning_rate: fromZero.default(1e-5).describe("at the schedule's height"),
      schedule: word("cosine", "linear", "constant")
        .default("cosine")
        .describe("how the learning rate goes on after warming up"),
      warmup_ratio: z
        .number("a number from 0 to 1")
        .min(0, "a number from 0 to 1")
        .max(1, "a number from 0 to 1")
        .default(0.03)
        .describe("the part of the stage's steps in which the learning rate rises from 0, for every schedule"),
      shuffle: flag.default(true).describe("false: the order of the files, round and round"),
      objective: objective.describe("what the stage minimises: the sum of losses, each times its weight"),
      optimizer_state: word("reset", "keep")
        .default("reset")
        .describe("whether the optimizer's moments begin anew; keep: they go on from the stage before"),
    },
    "a stage: an object with data, and epochs or steps",
  )
  .check(exactlyOneOf("epochs", "steps"))
  .superRefine(({ epochs, data }, context) => {
    const endless =
      data.length > 0 && data.every(({ generator, count }) => generator !== undefined && count === undefined);
    if (epochs === undefined || !endless) return;
    const message = "a generator without count has no epochs; give steps";
    context.addIssue({ code: "custom", message, path: ["epochs"] });
  });

const stages = z
  .array(stage, "a list of stages")
  .min(1, "a list of stages, at least one")
  .superRefine((list, context) => {
    for (const [index, { name }] of list.entries()) {
      if (list.findIndex((other) => other.name === name) === index) continue;
      const message = `an earlier stage is called ${JSON.stringify(name)} too; give each its own name`;
      context.addIssue({ code: "custom", message, path: [index, "name"] });
    }
  });

const optimizer = z
  .strictObject(
    {
      type: word("adamw", "muon")
        .default("adamw")
        .describe(
          "muon: matrices of layers take steps of orthonormal directions, as long as AdamW's are; the rest takes AdamW's",
        ),
      weight_decay: fromZero
        .default(0)
        .describe("decoupled from the gradient: a step takes this times the learning rate away from each weight"),
      betas: z
        .tuple([fraction, fraction], "two numbers from 0 to below 1")
        .default([0.9, 0.999])
        .describe("decay of the running means of the gradient and of its square"),
      momentum: fraction.default(0.95).describe("decay of Muon's running mean of the gradient"),
      eps: positive.default(1e-8).describe("added to the divisor of a step"),
      max_grad_norm: fromZero.default(1).describe("a longer gradient is scaled down to this norm; 0: never"),
      decay_norms_and_biases: flag.default(false).describe("whether weight decay holds for norms and biases, too"),
    },
    "an object with the optimizer's keys",
  )
  .prefault({});

const loss = z
  .strictObject(
    {
      type: word("pairwise").default("pairwise").describe("-log sigmoid(chosen - rejected - margin), mean over pairs"),
      center_rewards_coefficient: fromZero
        .default(0)
        .describe("times (chosen + rejected)^2 is added to the loss and holds rewards near 0"),
    },
    "an object with the loss's keys",
  )
  .prefault({});

const head = z.strictObject(
  {
    hidden: count.describe("numbers between its two layers, with SiLU on them"),
  },
  "an object with hidden",
);

const lora = z.strictObject(
  {
    rank: count.default(16).describe("the width of an adapter"),
    alpha: positive.default(32).describe("adapters are scaled by alpha / rank"),
    targets: partsOrPatterns(["decoder", "vision", ...decoderLinears])
      .default(["decoder"])
      .describe(
        "what gets adapters: all linear layers of a part, the decoder's of a name (q_proj), or those that fit a pattern",
      ),
    dropout: fraction.default(0).describe("of the adapters' inputs"),
  },
  "an object with the adapters' keys",
);

const validation = z
  .strictObject(
    {
      path: path("a JSON Lines file of preferences")
        .exactOptional()
        .describe("a file held out; either this, split or generator"),
      split: z
        .number("a number between 0 and 1")
        .gt(0, "a number between 0 and 1")
        .lt(1, "a number between 0 and 1")
        .exactOptional()
        .describe("the part of the prompts in the training files that is held out"),
      ...generated,
      count: count.exactOptional().describe("documents of the generator"),
      every_steps: count.default(200).describe("optimizer steps from one evaluation to the next"),
    },
    "an object with path, split or generator",
  )
  .check(exactlyOneOf("path", "split", "generator"))
  .check(generatorKeys)
  .superRefine(({ generator, count }, context) => {
    if (generator === undefined || count !== undefined) return;
    const message = "expected the number of documents beside generator, found nothing";
    context.addIssue({ code: "custom", message, path: ["count"] });
  });

const init = z.strictObject(
  {
    std: positive.default(0.02).describe("the standard deviation of matrices and embeddings; norms are 1, biases 0"),
    seed: wholeFromZero.exactOptional().describe("of the weights; without it, the run's"),
    patch_embed_scale: positive.default(1).describe("times std, for the layer that reads pixels"),
    vision_output_scale: positive
      .default(1)
      .describe("times std, for the last matrix of attention and MLP in each block of the vision tower"),
    head_std: fromZero
      .exactOptional()
      .describe("the standard deviation of the reward head; without it, 1 / sqrt(inputs + 1)"),
  },
  "an object with the keys of new weights, {} for the defaults",
);

const checkpoints = z
  .strictObject(
    {
      every_steps: wholeFromZero
        .default(0)
        .describe("optimizer steps from one saved state to the next; 0: by time alone"),
      every_minutes: fromZero.default(30).describe("minutes from one saved state to the next; 0: by steps alone"),
      keep_last: count.default(2).describe("how many of the latest states are kept"),
      keep_best: wholeFromZero.default(1).describe("how many of the best by validation accuracy are kept besides"),
    },
    "an object with the saved states' keys",
  )
  .prefault({});

/** A whole configuration file. */
export const trainConfigSchema = z
  .strictObject(
    {
      model: path("a folder, a hub id or tiny").describe(
        "what training starts from: a checkpoint folder, a hub id (org/name or org/name@revision), or tiny, the embedded model",
      ),
      init: init
        .exactOptional()
        .describe("draws all weights; model is then a folder with config.json, tokenizer and preprocessor files alone"),
      output: path("a folder").describe("where the finished checkpoint, metrics, report and saved states go"),
      seed: wholeFromZero.default(0).describe("of the data's order, generators, new weights, adapters and dropout"),
      dtype: word("float32", "bfloat16", "auto")
        .default("float32")
        .describe("the precision to compute in; auto: what is faster on this machine"),
      master_weights: word("float32", "none")
        .default("float32")
        .describe("beside bfloat16 weights; none: they and their moments are updated in bfloat16, for half the memory"),
      save_dtype: word("float32", "bfloat16").exactOptional().describe("of the finished checkpoint; without it, dtype"),
      train: partsOrPatterns(modelParts)
        .default(["merger", "decoder", "head"])
        .describe("what is trained: parts of the model, or patterns of parameter names"),
      lora: lora
        .exactOptional()
        .describe("low-rank adapters in place of the decoder's and the vision tower's own weights"),
      head: head
        .exactOptional()
        .describe("a new reward head of two layers, for a model that has none; without it, a new head has one"),
      head_dropout: fraction.default(0).describe("of the hidden state before the reward head (TRL: 0.1)"),
      loss: loss.describe("the loss of a pair"),
      optimizer: optimizer.describe("AdamW, or Muon with AdamW"),
      stages: stages.describe("trained one after the other, each with a schedule of its own"),
      validation: validation.exactOptional().describe("measured on the way; absent: nothing is"),
      checkpoints: checkpoints.describe("saved states, from which --resume goes on"),
      on_bad_record: word("error", "skip")
        .default("error")
        .describe(
          "whether a record that cannot be used ends the run before it begins, or is set aside with its reason",
        ),
      max_length: count.exactOptional().describe("tokens of a conversation; without it, what the model can take"),
      too_long: word("drop", "error", "cut")
        .default("drop")
        .describe("what becomes of a record with a longer conversation; cut: the oldest turns of its prompt go"),
      min_pixels: count
        .exactOptional()
        .describe("pictures with fewer pixels are enlarged; without it, the checkpoint's limit"),
      max_pixels: count
        .exactOptional()
        .describe("pictures with more pixels are reduced; without it, the checkpoint's limit"),
      feature_cache: path("memory, off or a folder")
        .default("memory")
        .describe("where the vision tower's output is kept while it is not trained: memory, off, or a folder"),
      token_budget: count
        .exactOptional()
        .describe("tokens of one forward and backward pass; without it, by the memory"),
      activation_checkpointing: z
        .union([z.literal("auto"), z.boolean()], "auto, true or false")
        .default("auto")
        .describe("whether the backward pass computes layers again instead of keeping them; auto: by the memory"),
      threads: count.exactOptional().describe("of a process's arithmetic; without it, as many as libtorch takes"),
      tensorboard: flag.default(true).describe("whether to write event files for TensorBoard"),
    },
    "an object with the keys of a training configuration",
  )
  .superRefine(({ init, lora, train }, context) => {
    if (init === undefined) return;
    const left = modelParts.filter((part) => !train.includes(part));
    const message =
      lora !== undefined
        ? "adapters on weights that were just drawn teach nothing; leave out lora or init"
        : left.length > 0
          ? `init draws all weights, and ${left.join(", ")} would stay as drawn; expected [${modelParts.join(", ")}]`
          : undefined;
    if (message !== undefined) context.addIssue({ code: "custom", message, path: [lora ? "lora" : "train"] });
  })
  .superRefine(({ validation, stages }, context) => {
    if (validation?.split === undefined || stages.some(({ data }) => data.some((source) => source.path))) return;
    const message = "there is no file of which a part could be held out; give validation a generator";
    context.addIssue({ code: "custom", message, path: ["validation", "split"] });
  })
  .superRefine(({ min_pixels, max_pixels }, context) => {
    if (min_pixels === undefined || max_pixels === undefined || min_pixels <= max_pixels) return;
    const message = `${min_pixels} is larger than max_pixels, ${max_pixels}`;
    context.addIssue({ code: "custom", message, path: ["min_pixels"] });
  });

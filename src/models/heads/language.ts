/** @file The language model's own head, for whoever asks of a model what it would say: a reward does without it. */
import path from "node:path";
import type { StoredTensor } from "../../checkpoint/checkpoint.ts";
import { VlRewardError } from "../../errors.ts";
import { readJson } from "../../files/json.ts";
import { Parameter, type Placement } from "../../nn/index.ts";
import { bytesPerElement, mapFile, type Tensor } from "../../torch/index.ts";

/** What makes a number for each token of the vocabulary of a hidden state. */
export interface LanguageHead {
  /** In the compute dtype; where it had to be converted, valid until the next parameter's is asked for. */
  readonly weight: Tensor; // [vocabulary, hidden]
  /** What it takes beside the model. */
  readonly bytes: number;
  dispose(): void;
}

/**
 * The embedding where the two are tied, which takes nothing; else the checkpoint's own, which is not trained. Throws
 * `checkpoint_unsupported` where it has neither.
 *
 * @param embedding the model's, of the tokens [vocabulary, hidden]
 * @param stored the checkpoint's own
 * @param folder of the checkpoint
 */
export function languageHeadOf(
  embedding: Parameter,
  stored: StoredTensor | undefined,
  folder: string,
  place: Placement,
): LanguageHead {
  const tied = tiesEmbeddings(readJson(path.join(folder, "config.json")));
  if (stored && tied !== true) return ownHead(stored, place);
  if (tied !== false) {
    return {
      get weight(): Tensor {
        return embedding.value;
      },
      bytes: 0,
      dispose: () => {},
    };
  }
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${folder} has no language head: config.json says tie_word_embeddings: false, and there is no lm_head.weight. It can ` +
      "score, but not say how likely texts are.",
  );
}

function ownHead(stored: StoredTensor, place: Placement): LanguageHead {
  const head = new Parameter(stored.shape);
  const [mapped] = mapFile(stored.file, [stored]);
  if (mapped) head.assign(mapped, place);
  const { elements, dtype } = head.stored;
  return {
    get weight(): Tensor {
      return head.value;
    },
    bytes: elements * bytesPerElement(dtype),
    dispose: () => head.dispose(),
  };
}

/** Whether a config.json says so, at the top or, as transformers 5 writes it, under `text_config`; undefined where it does not say. */
export function tiesEmbeddings(config: unknown): boolean | undefined {
  if (typeof config !== "object" || config === null) return undefined;
  if ("tie_word_embeddings" in config) return config.tie_word_embeddings === true;
  return "text_config" in config ? tiesEmbeddings(config.text_config) : undefined;
}

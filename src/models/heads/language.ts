/** @file The language model's own head, for whoever asks of a model what it would say: a reward does without it. */
import { listTensors } from "../../checkpoint/checkpoint.ts";
import { VlRewardError } from "../../errors.ts";
import { Parameter, type Placement } from "../../nn/index.ts";
import { bytesPerElement, mapFile, type Tensor } from "../../torch/index.ts";
import type { Backbone } from "../backbone.ts";

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
 * @param tied as config.json says
 */
export function languageHeadOf(backbone: Backbone, folder: string, tied: boolean, place: Placement): LanguageHead {
  const { weight } = backbone.embedding;
  const embedding = {
    get weight(): Tensor {
      return weight.value;
    },
    bytes: 0,
    dispose: () => {},
  };
  if (tied) return embedding;
  const stored = listTensors(folder).get("lm_head.weight");
  if (!stored) {
    throw new VlRewardError(
      "checkpoint_unsupported",
      `${folder} has no language head: neither lm_head.weight nor tie_word_embeddings in config.json. It can score, but not ` +
        "say how likely texts are.",
    );
  }
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

/** Whether a config.json says so, at the top or, as transformers 5 writes it, under `text_config`. */
export function tiesEmbeddings(config: unknown): boolean {
  if (typeof config !== "object" || config === null) return false;
  if ("tie_word_embeddings" in config) return config.tie_word_embeddings === true;
  return "text_config" in config && tiesEmbeddings(config.text_config);
}

/** @file The forms that a checkpoint is written in for other programs, by themselves: whoever only lists them need not load what writes them. */

/**
 * vllm: a sequence classifier, its head `score` among the weights. trl: the head in value_head.safetensors. transformers5: the names that
 * its classes have, the head where this program has it.
 */
export const checkpointForms = ["vllm", "trl", "transformers5"] as const;
export type CheckpointForm = (typeof checkpointForms)[number];

/**
 * @file What a family of models makes of a checkpoint folder: everything about a backbone that is decided before its weights are
 * there. families.ts knows which families there are; this is all that the rest of the program knows of one.
 */
import type { PixelLimits } from "../conversation.ts";
import type { JsonObject } from "../files/json.ts";
import type { Dtype } from "../torch/index.ts";
import type { Backbone, Shape } from "./backbone.ts";
import type { Processor, ProcessorOptions } from "./processor.ts";

export interface ExportOptions {
  /** Of the backbone's weights. */
  readonly dtype: Dtype;
  /** Whether the base stores lm_head.weight: says if embeddings are tied where config.json does not. */
  readonly storesLanguageHead: boolean;
  /** Where the reward head is stored. */
  readonly head: HeadPlace;
  /** What training used for pictures; those of the base where it set none. */
  readonly limits: PixelLimits;
}

/** In a file of its own, as TRL and LLaMA-Factory have it, or as `score.weight` among the weights, as transformers' classes do. */
export type HeadPlace = "value_head" | "score";

/** What an example of use depends on. */
export interface ExampleOptions {
  readonly dtype: "float32" | "bfloat16";
  readonly head: HeadPlace;
  readonly headLayers: 1 | 2;
  /** Of pictures; 0 and 0 where none are read. */
  readonly limits: Required<PixelLimits>;
}

/** A checkpoint folder, as its family reads it. */
export interface Family {
  /** What people call it. */
  readonly name: string;
  /** config.json's `model_type`. */
  readonly modelType: string;
  readonly shape: Shape;
  /** Without weights: its parameters wait for them. */
  createBackbone(): Backbone;
  /**
   * Loads tokenizer, template and what reads pictures, and their modules: a thread that computes does without. Rejects with
   * `config_invalid` for tokenizer, template or preprocessor files that are missing or not as expected.
   */
  loadProcessor(options: ProcessorOptions): Promise<Processor>;
  /** The parameter that a stored tensor fills. Applied twice it changes nothing more. */
  parameterName(stored: string): string;
  /** What transformers 5's classes call a parameter, or the language model's own head. */
  currentName(parameter: string): string;
  /** Pixel limits of pictures that the checkpoint sets; undefined where it reads none. */
  readonly pixelLimits: Required<PixelLimits> | undefined;
  /** Where a checkpoint of this family has its reward head; a head that does not fit there is a file of its own. */
  readonly headPlace: HeadPlace;
  /** A program in Python that scores with an exported checkpoint by transformers. */
  pythonExample(options: ExampleOptions): string;
  /** The JSON files of an exported checkpoint that are not copied, by name. */
  exportedFiles(options: ExportOptions): Readonly<Record<string, JsonObject>>;
}

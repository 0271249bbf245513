/** @file Qwen2.5-VL as a family: its config, processor, names and files in one value. */
import { VlRewardError } from "../../errors.ts";
import type { Family } from "../family.ts";
import { parseConfig } from "./config.ts";
import { exportedConfig, exportedPreprocessor } from "./export.ts";
import { currentName, publishedName, Qwen25VL, shapeOf } from "./model.ts";
import { loadPreprocessorConfig } from "./preprocessor-config.ts";
import { pythonExample } from "./python-example.ts";
import { frameFactor } from "./smart-resize.ts";

export function qwen25VL(folder: string, json: unknown, file: string, texts: string): Family {
  const config = parseConfig(json, file);
  const name = "Qwen2.5-VL";
  const { maxPositions, vocabSize: vocabulary } = config.text;
  return {
    name,
    modelType: "qwen2_5_vl",
    shape: shapeOf(config),
    createBackbone: () => new Qwen25VL(config),
    loadProcessor: async (options) => {
      const pictures = loadPreprocessorConfig(folder);
      const { patchSize, spatialMergeSize, temporalPatchSize } = config.vision;
      const [cut, expected] = [
        [pictures.patchSize, pictures.mergeSize, pictures.temporalPatchSize],
        [patchSize, spatialMergeSize, temporalPatchSize],
      ].map(([patch, merge, frames]) => `patches of ${patch} over ${frames} frames, merged by ${merge}`);
      if (cut !== expected) {
        throw new VlRewardError(
          "config_invalid",
          `${folder}: the preprocessor cuts ${cut}, the model expects ${expected}.`,
        );
      }
      if (temporalPatchSize !== frameFactor) {
        throw new VlRewardError(
          "checkpoint_unsupported",
          `${file}: temporal_patch_size is ${temporalPatchSize}; supported is ${frameFactor}.`,
        );
      }
      const [{ Processor }, { Qwen25VLVisuals }] = await Promise.all([
        import("../processor.ts"),
        import("./visuals.ts"),
      ]);
      const visuals = new Qwen25VLVisuals(config, pictures, options);
      return Processor.load(texts, { name, maxPositions, vocabulary, visuals });
    },
    parameterName: publishedName,
    currentName,
    get pixelLimits() {
      const { minPixels, maxPixels } = loadPreprocessorConfig(folder);
      return { minPixels, maxPixels };
    },
    headPlace: "value_head",
    pythonExample,
    exportedFiles: (options) => ({
      "config.json": exportedConfig(json, options),
      "preprocessor_config.json": exportedPreprocessor(folder, options.limits),
    }),
  };
}

import { expect, test } from "vitest";
import { parseConfig } from "../../models/qwen2_5_vl/config.ts";
import { planTrainingMemory } from "./memory.ts";

/** The published 7B's decoder. */
const config = parseConfig(
  {
    model_type: "qwen2_5_vl",
    image_token_id: 151655,
    video_token_id: 151656,
    vocab_size: 152_064,
    hidden_size: 3584,
    intermediate_size: 18_944,
    num_hidden_layers: 28,
    num_attention_heads: 28,
    num_key_value_heads: 4,
    rope_scaling: { type: "mrope", mrope_section: [16, 24, 24] },
    vision_config: { out_hidden_size: 3584 },
  },
  "config.json",
);

test.each([
  [2, 12e9],
  [4, 16e9],
] as const)("language modelling of %i-byte numbers leaves room for its logits in %d bytes", (width, bytes) => {
  const plan = (logits: boolean) => planTrainingMemory(config, width, bytes, { checkpointing: "auto", logits });
  const [without, withLogits] = [plan(false), plan(true)];
  expect(withLogits.tokenBudget).toBeLessThan(without.tokenBudget);
  // Logits, their gradient and their log-softmax, the last at least in float32.
  expect(withLogits.tokenBudget * 152_064 * (2 * width + 4)).toBeLessThan(bytes / 2);
  expect(withLogits.featureCache).toBe(without.featureCache);
});

test("a budget that was asked for stands", () => {
  const asked = { checkpointing: true, tokenBudget: 1000, logits: true } as const;
  expect(planTrainingMemory(config, 2, 1e9, asked)).toMatchObject({ tokenBudget: 1000, checkpointing: true });
});

/** @file How a finished Qwen2.5-VL checkpoint is used from Python, for its model card. */
import type { ExampleOptions } from "../family.ts";

/** Reads the score at the last token, the newline that ends the answer's turn, as training did. */
export function pythonExample({ headLayers, dtype, limits: { minPixels, maxPixels } }: ExampleOptions): string {
  const states = headLayers === 1 ? "hidden" : 'torch.nn.functional.silu(head["0.weight"] @ hidden + head["0.bias"])';
  const last = headLayers === 1 ? "" : "2.";
  return `import torch
from qwen_vl_utils import process_vision_info
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

folder = "."
model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, torch_dtype=torch.${dtype}).eval()
processor = AutoProcessor.from_pretrained(folder)
head = {name.removeprefix("v_head.summary."): x.float() for name, x in load_file(f"{folder}/value_head.safetensors").items()}

def score(messages):
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    images, videos, options = process_vision_info(messages, return_video_kwargs=True)
    inputs = processor(text=[text], images=images, videos=videos, return_tensors="pt", **(options if videos else {}))
    with torch.no_grad():
        hidden = model(**inputs.to(model.device), output_hidden_states=True).hidden_states[-1][0, -1].float().cpu()
    return (head["${last}weight"][0] @ ${states} + head["${last}bias"][0]).item()

print(score([
    {"role": "user", "content": [
        {"type": "image", "image": "picture.png", "min_pixels": ${minPixels}, "max_pixels": ${maxPixels}},
        {"type": "text", "text": "What is this?"},
    ]},
    {"role": "assistant", "content": "A cat."},
]))`;
}

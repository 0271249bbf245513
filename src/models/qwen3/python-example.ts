/** @file How a finished Qwen3 checkpoint is used from Python, for its model card. */
import type { ExampleOptions } from "../family.ts";

/** Reads the score at the last token, the newline that ends the answer's turn, as training did. */
export const pythonExample = (options: ExampleOptions): string => `import torch
from transformers import AutoModel${options.head === "score" ? "ForSequenceClassification" : ""}, AutoTokenizer
${options.head === "score" ? "" : "from safetensors.torch import load_file\n"}
folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
${options.head === "score" ? classifier(options) : withValueHead(options)}
print(score([
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
]))`;

const inputs = 'tokenizer.apply_chat_template(messages, tokenize=True, return_tensors="pt")';

const classifier = ({ dtype }: ExampleOptions): string => `model = AutoModelForSequenceClassification.from_pretrained(
    folder, torch_dtype=torch.${dtype}, num_labels=1
).eval()

def score(messages):
    ids = ${inputs}
    with torch.no_grad():
        return model(ids.to(model.device)).logits[0][0].item()
`;

function withValueHead({ headLayers, dtype }: ExampleOptions): string {
  const states = headLayers === 1 ? "hidden" : 'torch.nn.functional.silu(head["0.weight"] @ hidden + head["0.bias"])';
  const last = headLayers === 1 ? "" : "2.";
  return `model = AutoModel.from_pretrained(folder, torch_dtype=torch.${dtype}).eval()
head = {name.removeprefix("v_head.summary."): x.float() for name, x in load_file(f"{folder}/value_head.safetensors").items()}

def score(messages):
    ids = ${inputs}
    with torch.no_grad():
        hidden = model(ids.to(model.device)).last_hidden_state[0, -1].float().cpu()
    return (head["${last}weight"][0] @ ${states} + head["${last}bias"][0]).item()
`;
}

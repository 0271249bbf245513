/** @file `vl-reward convert`: a checkpoint in the form that another program wants. src/training/output/convert.ts does the work. */

import { type Command, Option } from "@commander-js/extra-typings";
import { VlRewardError } from "../../errors.ts";
import { locateModel } from "../../hub/locate.ts";
import { type CheckpointForm, checkpointForms } from "../../training/output/checkpoint-forms.ts";
import { modelLookup } from "../embedded-model.ts";
import { revisionFlag } from "../engine-flags.ts";
import { listenForInterrupts } from "../interrupts.ts";
import { LiveLine } from "../live-line.ts";

const notes = `
Forms:
  vllm           Qwen2_5_VLForSequenceClassification with score.weight (and score.bias), num_labels 1: vllm serve OUT
  trl            the published names, the head in value_head.safetensors: TRL, LLaMA-Factory, transformers 4.51
  transformers5  the names of transformers since 4.52 (model.language_model..., model.visual...)

The tensors are the same bytes, tokenizer and chat template come along, and every form scores alike. A head of two layers has no place in vllm's form.

Examples:
  vl-reward convert Skywork/Skywork-VL-Reward-7B skywork-vllm --to vllm
  vl-reward convert runs/stage-2 for-trl --to trl
  vl-reward score pairs.jsonl --model skywork-vllm`;

export function addConvertCommand(program: Command): void {
  program
    .command("convert")
    .summary("write a checkpoint as vLLM, TRL or transformers 5 want it")
    .description("Writes a reward model into another folder under the names that another program reads.")
    .argument("<model>", "folder, hub id (org/name or org/name@revision), or tiny")
    .argument("<folder>", "where it goes")
    .addOption(new Option("--to <form>", "who is to read it").choices(checkpointForms))
    .addOption(revisionFlag)
    .addHelpText("after", notes)
    .action(async (model, target, { to, revision }) => {
      await convert(model, target, to, revision);
    });
}

async function convert(
  model: string,
  target: string,
  form: CheckpointForm | undefined,
  revision: string | undefined,
): Promise<void> {
  if (form === undefined)
    throw new VlRewardError("usage", `--to is missing: expected one of ${checkpointForms.join(", ")}.`);
  const live = new LiveLine(process.stderr.isTTY === true);
  const folder = await locateModel(model, { ...modelLookup(live, listenForInterrupts()), revision });
  const { convertCheckpoint } = await import("../../training/output/convert.ts");
  live.say(`writing ${target} for ${form}`);
  const { head, tensors, bytes, notes } = await convertCheckpoint(folder, target, form);
  for (const note of notes) live.say(note);
  process.stdout.write(`${JSON.stringify({ folder: target, form, head, tensors, bytes })}\n`);
}

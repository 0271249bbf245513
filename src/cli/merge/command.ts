/** @file `vl-reward merge`: an adapter and its base as one checkpoint. src/training/output/convert.ts does the work. */

import { type Command, Option } from "@commander-js/extra-typings";
import { VlRewardError } from "../../errors.ts";
import { locateBase, locateModel } from "../../hub/locate.ts";
import { modelLookup } from "../embedded-model.ts";
import { baseFlag, revisionFlag } from "../engine-flags.ts";
import { listenForInterrupts } from "../interrupts.ts";
import { LiveLine } from "../live-line.ts";

const notes = `
The base is the one that adapter_config.json names (base_model_name_or_path), or --base. The sum is what PEFT's merge_and_unload() gives, in the base's own
precision unless --dtype says otherwise; tokenizer and chat template are the adapter's where it has them. Other commands take an adapter as it is and merge in memory.

Examples:
  vl-reward merge runs/lora/adapter merged
  vl-reward merge org/adapter --base Qwen/Qwen2.5-VL-7B-Instruct merged
  vl-reward score pairs.jsonl --model merged`;

export function addMergeCommand(program: Command): void {
  program
    .command("merge")
    .summary("merge a LoRA adapter into its base model")
    .description("Writes an adapter and the model that it was trained on as one checkpoint.")
    .argument("<adapter>", "folder or hub id of a PEFT adapter")
    .argument("<folder>", "where the checkpoint goes")
    .addOption(baseFlag)
    .addOption(
      new Option("--dtype <type>", "what the weights are stored in; auto: as the base's are")
        .choices(["auto", "float32", "bfloat16"] as const)
        .default("auto" as const),
    )
    .addOption(revisionFlag)
    .addHelpText("after", notes)
    .action(async (adapter, target, { base, revision, dtype }) => {
      await merge(adapter, target, base, revision, dtype === "auto" ? undefined : dtype);
    });
}

async function merge(
  adapter: string,
  target: string,
  given: string | undefined,
  revision: string | undefined,
  dtype: "float32" | "bfloat16" | undefined,
): Promise<void> {
  const live = new LiveLine(process.stderr.isTTY === true);
  const locating = modelLookup(live, listenForInterrupts());
  const folder = await locateModel(adapter, { ...locating, revision });
  const base = await locateBase(folder, given, locating);
  if (base === undefined) {
    throw new VlRewardError(
      "usage",
      `${adapter} is no adapter (it has no adapter_config.json alone), so there is nothing to merge.`,
    );
  }
  const { mergeAdapter } = await import("../../training/output/convert.ts");
  live.say(`merging ${adapter} into ${base}`);
  const { head, tensors, bytes, notes } = await mergeAdapter(folder, base, target, dtype);
  for (const note of notes) live.say(note);
  process.stdout.write(`${JSON.stringify({ folder: target, base, head, tensors, bytes })}\n`);
}

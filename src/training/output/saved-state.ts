/**
 * @file Saved states of a training run: folders `step-00000200` with state.json, safetensors files and the checksums of
 * all. A state is made under another name and renamed when it is on the disk, so that a folder with the name of a state
 * is whole, whenever the process is killed; checksums tell what the disk itself has lost. How well a state does is measured
 * after it is saved, and stands beside them in evaluation.json: a state without it is as good a state.
 *
 * Other names: `.incomplete` is being written, `.removed` is being removed, `.replaced` gives way to a new state of the
 * same step, `.damaged` has been found damaged and waits for a person.
 */

import { existsSync, mkdirSync, readdirSync, readSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import { z } from "zod";
import type { StoredTensor } from "../../checkpoint/checkpoint.ts";
import { readSafetensorsHeader } from "../../checkpoint/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../../checkpoint/save.ts";
import { VlRewardError } from "../../errors.ts";
import { incomplete, sync, type Written, writeTextDurably, writing } from "../../files/durable-file.ts";
import { readJson } from "../../files/json.ts";
import { UnsuitableFile, withRegularFile } from "../../files/regular-file.ts";
import { isSystemError } from "../../files/system-error.ts";

/** The tensors of a state: each a file `<name>.safetensors`. A state without one of them is none. */
const tensorFiles = ["weights", "optimizer"] as const;
export type TensorFile = (typeof tensorFiles)[number];

export interface StateToSave {
  /** Optimizer steps done, over all stages. */
  readonly step: number;
  /** What JSON can hold, numbers finite. */
  readonly state: unknown;
  readonly tensors: Readonly<Record<TensorFile, Iterable<TensorSource>>>;
}

export interface LoadedState {
  readonly state: unknown;
  /** By file and name: where they lie. */
  readonly tensors: ReadonlyMap<TensorFile, ReadonlyMap<string, StoredTensor>>;
}

const stateFile = "state.json";
const checksumFile = "checksums.json";
const evaluationFile = "evaluation.json";
const [removed, replaced, damaged] = [".removed", ".replaced", ".damaged"];

const nameOf = (file: TensorFile): string => `${file}.safetensors`;

/** The name of a state's folder. */
export const folderOf = (step: number): string => `step-${String(step).padStart(8, "0")}`;

/**
 * Saves a state into its own folder below `folder`, which is made where it is absent; the folder around that has to be there.
 * When this returns, the state is on the disk; until then nothing that was there before is gone. Throws `output_unwritable`.
 *
 * @returns the state's folder
 */
export function saveState(folder: string, { step, state, tensors }: StateToSave): string {
  const target = path.join(folder, folderOf(step));
  const temporary = target + incomplete;
  try {
    writing(temporary, () => {
      rmSync(temporary, { recursive: true, force: true });
      if (!existsSync(folder)) mkdirSync(folder); // not what is around it: a run whose output is gone is not to begin a second one
      mkdirSync(temporary);
      sync(path.dirname(folder));
    });
    const written: Record<string, Written> = {};
    written[stateFile] = writeTextDurably(path.join(temporary, stateFile), `${JSON.stringify(state, null, 2)}\n`);
    for (const file of tensorFiles) {
      written[nameOf(file)] = writeSafetensors(path.join(temporary, nameOf(file)), tensors[file]);
    }
    writeTextDurably(path.join(temporary, checksumFile), `${JSON.stringify(written, null, 2)}\n`);
    writing(target, () => {
      if (existsSync(target)) {
        rmSync(target + replaced, { recursive: true, force: true });
        renameSync(target, target + replaced);
      }
      renameSync(temporary, target);
      sync(folder);
      rmSync(target + replaced, { recursive: true, force: true });
    });
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
  return target;
}

/**
 * -> the folder of the latest whole state, or undefined where there has been none. Every byte is checked. A damaged state
 * is reported, set aside and the one before is taken; where none is left, throws `checkpoint_damaged`. Removes what a
 * killed process has left, so no other process may be saving there.
 */
export function latestState(folder: string, report: (message: string) => void): string | undefined {
  if (!existsSync(folder)) return undefined;
  writing(folder, () => tidy(folder));
  const steps = stepsIn(folder).reverse();
  for (const step of steps) {
    const candidate = path.join(folder, folderOf(step));
    const damage = damageOf(candidate);
    if (damage === undefined) return candidate;
    report(`The saved state of step ${step} is damaged (${damage}) and set aside as ${folderOf(step)}${damaged}.`);
    writing(candidate, () => {
      rmSync(candidate + damaged, { recursive: true, force: true });
      renameSync(candidate, candidate + damaged);
    });
  }
  if (steps.length === 0) return undefined;
  throw new VlRewardError(
    "checkpoint_damaged",
    `${folder} has no whole state left: ${steps.length === 1 ? "the only one is" : `all ${steps.length} are`} damaged. ` +
      "Restore one from a backup, or choose a new output folder to begin again.",
  );
}

/** Takes up a state that latestState has found. Throws `config_invalid` or `checkpoint_damaged` where it cannot be read. */
export function loadState(stateFolder: string): LoadedState {
  const tensors = new Map(
    tensorFiles.map((name) => {
      const file = path.join(stateFolder, nameOf(name));
      const places = [...readSafetensorsHeader(file)].map(([tensor, place]) => [tensor, { ...place, file }] as const);
      return [name, new Map(places)] as const;
    }),
  );
  return { state: readJson(path.join(stateFolder, stateFile)), tensors };
}

/** Notes by a saved state what its validation gave; later states are measured against it. Throws `output_unwritable`. */
export function noteAccuracy(stateFolder: string, accuracy: number): void {
  writeTextDurably(path.join(stateFolder, evaluationFile), `${JSON.stringify({ accuracy })}\n`);
}

/**
 * Removes states but the `last` latest and the `best` best by the accuracy that noteAccuracy was told, equal ones the later
 * first. The latest always stays.
 */
export function keepStates(folder: string, { last, best }: { last: number; best: number }): void {
  const steps = stepsIn(folder).reverse();
  const kept = new Set(steps.slice(0, Math.max(1, last)));
  if (best > 0) {
    const ranked = steps.flatMap((step) => {
      const accuracy = accuracyOf(path.join(folder, folderOf(step)));
      return accuracy === undefined ? [] : [{ step, accuracy }];
    });
    ranked.sort((a, b) => b.accuracy - a.accuracy || b.step - a.step);
    for (const { step } of ranked.slice(0, best)) kept.add(step);
  }
  writing(folder, () => {
    for (const step of steps) {
      if (kept.has(step)) continue;
      const name = path.join(folder, folderOf(step));
      renameSync(name, name + removed); // a half removed folder does not have the name of a state
      rmSync(name + removed, { recursive: true });
    }
  });
}

const evaluationSchema = z.object({ accuracy: z.number() });

/** -> what noteAccuracy was told of a state; undefined where nothing was, or it cannot be read any more */
function accuracyOf(stateFolder: string): number | undefined {
  const file = path.join(stateFolder, evaluationFile);
  if (!existsSync(file)) return undefined;
  try {
    return evaluationSchema.parse(readJson(file)).accuracy;
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof VlRewardError) return undefined;
    throw error;
  }
}

/** The step of a state's folder. */
export const stepOf = (folder: string): number => Number(path.basename(folder).replace("step-", ""));

/** The steps of the states, rising. */
function stepsIn(folder: string): number[] {
  const steps = readdirSync(folder).flatMap((name) => /^step-(\d{8,})$/.exec(name)?.slice(1).map(Number) ?? []);
  return steps.sort((a, b) => a - b);
}

function tidy(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith("step-")) continue;
    const found = path.join(folder, name);
    const state = path.join(folder, path.parse(name).name);
    if (name.endsWith(replaced) && !existsSync(state)) renameSync(found, state);
    else if ([incomplete, removed, replaced].some((end) => name.endsWith(end))) rmSync(found, { recursive: true });
  }
  sync(folder);
}

const checksumsSchema = z.record(z.string(), z.object({ bytes: z.int(), crc32: z.int() }));

/** -> what is wrong with a state, or undefined */
function damageOf(stateFolder: string): string | undefined {
  try {
    const checksums = checksumsSchema.parse(readJson(path.join(stateFolder, checksumFile)));
    const absent = [stateFile, ...tensorFiles.map(nameOf)].find((name) => !Object.hasOwn(checksums, name));
    if (absent !== undefined) return `${checksumFile} does not list ${absent}`;
    for (const [name, expected] of Object.entries(checksums)) {
      const { bytes, crc32: found } = checksumOf(path.join(stateFolder, name));
      if (bytes !== expected.bytes) return `${name} has ${bytes} bytes, expected ${expected.bytes}`;
      if (found !== expected.crc32) return `the bytes of ${name} are not those that were written`;
    }
    return undefined;
  } catch (error) {
    if (error instanceof z.ZodError) return `${checksumFile} is not a list of checksums`;
    if (error instanceof VlRewardError || isSystemError(error)) return error.message;
    if (error instanceof UnsuitableFile) return `one of its files cannot be read: ${error.message}`;
    throw error;
  }
}

function checksumOf(file: string): Written {
  return withRegularFile(file, (descriptor) => {
    const buffer = Buffer.alloc(4 * 2 ** 20);
    let [bytes, checksum] = [0, 0];
    for (;;) {
      const read = readSync(descriptor, buffer);
      if (read === 0) return { bytes, crc32: checksum };
      bytes += read;
      checksum = crc32(buffer.subarray(0, read), checksum);
    }
  });
}

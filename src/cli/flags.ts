/**
 * @file Flags that several commands have, and readers of their values.
 */

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { localPolicy, type MediaPolicy } from "../media/policy.ts";

/** Of commands that read pictures and videos named in records: `mediaPolicyOf` reads the two. */
export const mediaRootFlag = new Option("--media-root <folder>", "read no picture or video outside of it").argParser(
  readFolder,
);
export const noNetworkFlag = new Option("--no-network", "fetch no picture or video from an address");

export function mediaPolicyOf(flags: {
  readonly mediaRoot?: string | undefined;
  readonly network: boolean;
}): MediaPolicy {
  return {
    ...localPolicy,
    ...(flags.mediaRoot !== undefined && { files: { below: flags.mediaRoot } }),
    ...(!flags.network && { addresses: "none" }),
  };
}

function readFolder(text: string): string {
  if (statSync(text, { throwIfNoEntry: false })?.isDirectory()) return resolve(text);
  throw new InvalidArgumentError("Expected a folder that is there.");
}

export function readCount(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new InvalidArgumentError("Expected a positive whole number.");
}

export function readDevice(text: string): string {
  if (isDevice(text)) return text;
  throw new InvalidArgumentError("Expected auto, cpu, cuda or cuda:N.");
}

/** One device or several, separated by commas. */
export function readDevices(text: string): string {
  const words = text.split(",");
  if (text === "auto" || words.every((word) => word !== "auto" && isDevice(word))) return text;
  throw new InvalidArgumentError("Expected auto, cpu, cuda or cuda:N, or several of them such as cuda:0,cuda:1.");
}

const isDevice = (word: string): boolean => /^(auto|cpu|cuda(:\d+)?)$/.test(word);

/** The seed of documents. */
export function readSeed(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(seed)) return seed;
  throw new InvalidArgumentError("Expected a whole number from 0.");
}

/** A picture's side in pixels: whole tokens. */
export function readSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size % 28 === 0 && size >= 56 && size <= 1120) return size;
  throw new InvalidArgumentError("Expected a multiple of 28 from 56 to 1120.");
}

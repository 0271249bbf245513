/** @file Checkpoint folders made of the embedded model's, for tests of what reads folders of others. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type FileEntry, safetensors } from "./safetensors-file.ts";

export const tiny = path.join(import.meta.dirname, "../models/tiny");

export type Entries = Readonly<Record<string, FileEntry>>;

/** The tensors of a safetensors file, read by the format's description. */
export function entriesOf(file: string): Entries {
  const bytes = readFileSync(file);
  const dataStart = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString("utf8", 8, dataStart)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [from, to],
          },
        ]) => [name, { dtype, shape, bytes: bytes.subarray(dataStart + from, dataStart + to) }],
      ),
  );
}

export const tinyWeights = entriesOf(path.join(tiny, "model.safetensors"));
export const tinyHead = entriesOf(path.join(tiny, "value_head.safetensors"));

const textFiles = [
  "config.json",
  "preprocessor_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.json",
];

/** What a folder's file is to hold: bytes or text, an object as JSON, tensors as safetensors. */
export type Content = Uint8Array | string | { readonly json: unknown } | { readonly tensors: Entries };

/** Folders of one test file, which are removed by `clear`. */
export class Folders {
  readonly #root = mkdtempSync(path.join(tmpdir(), "vl-reward-folders-"));
  #count = 0;

  /** A folder with the embedded model's files but its weights, and these files. */
  model(files: Readonly<Record<string, Content>>, without: readonly string[] = []): string {
    const texts = textFiles.filter((name) => !without.includes(name));
    const folder = this.empty();
    for (const name of texts) copyFileSync(path.join(tiny, name), path.join(folder, name));
    this.write(folder, files);
    return folder;
  }

  empty(files: Readonly<Record<string, Content>> = {}): string {
    const folder = path.join(this.#root, String(this.#count++));
    mkdirSync(folder);
    this.write(folder, files);
    return folder;
  }

  write(folder: string, files: Readonly<Record<string, Content>>): void {
    for (const [name, content] of Object.entries(files)) writeFileSync(path.join(folder, name), bytesOf(content));
  }

  clear(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }
}

function bytesOf(content: Content): Uint8Array | string {
  if (typeof content === "string" || content instanceof Uint8Array) return content;
  return "json" in content ? JSON.stringify(content.json) : safetensors(content.tensors);
}

/** The tensors under other names. */
export const renamed = (entries: Entries, rename: (name: string) => string): Entries =>
  Object.fromEntries(Object.entries(entries).map(([name, entry]) => [rename(name), entry]));

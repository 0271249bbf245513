/** @file What a file of records is, by its first bytes: its name may say anything. */

import { VlRewardError } from "../../errors.ts";

/**
 * - `lines`: JSON Lines in UTF-8
 * - `list`: one JSON list, its entries are the records
 * - `values`: JSON objects that are spread over several lines each, one behind the other
 */
export type Container = "lines" | "list" | "values" | "gzip" | "zstd" | "utf-16le" | "utf-16be" | "parquet";

/** So many bytes tell; of a file that has as many. */
export const headBytes = 64 * 1024;

const readable: readonly (readonly [Container, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["parquet", [0x50, 0x41, 0x52, 0x31]],
];

/** What is no file of records, and how it becomes one. */
const unreadable: readonly (readonly [what: string, advice: string, first: readonly number[]])[] = [
  ["a zip archive", "unpack it and name the file that was in it", [0x50, 0x4b, 0x03, 0x04]],
  ["an empty zip archive", "name a file with records", [0x50, 0x4b, 0x05, 0x06]],
  ["packed by bzip2", "unpack it with `bunzip2`", [0x42, 0x5a, 0x68]],
  ["packed by xz", "unpack it with `unxz`", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["packed by lz4", "unpack it with `unlz4`", [0x04, 0x22, 0x4d, 0x18]],
  [
    "an Arrow file",
    "write it as parquet or JSON Lines: `datasets.load_from_disk(folder).to_parquet(file)`",
    [...Buffer.from("ARROW1")],
  ],
  [
    "an Arrow stream",
    "write it as parquet or JSON Lines: `datasets.load_from_disk(folder).to_parquet(file)`",
    [0xff, 0xff, 0xff, 0xff],
  ],
  ["an SQLite database", "write its rows as JSON Lines", [...Buffer.from("SQLite format 3")]],
  ["an HDF5 file", "write its rows as JSON Lines", [0x89, 0x48, 0x44, 0x46]],
  ["an Avro file", "write its rows as JSON Lines", [...Buffer.from("Obj\x01")]],
  ["a Python pickle", "write its records as JSON Lines", [0x80, 0x04, 0x95]],
  ["a PyTorch or NumPy file", "write its records as JSON Lines", [0x93, ...Buffer.from("NUMPY")]],
  ["text in UTF-32", "write it in UTF-8: `iconv -f UTF-32 -t UTF-8`", [0xff, 0xfe, 0x00, 0x00]],
  ["text in UTF-32", "write it in UTF-8: `iconv -f UTF-32 -t UTF-8`", [0x00, 0x00, 0xfe, 0xff]],
  ["a picture", "name a file of records, which name their pictures", [0x89, 0x50, 0x4e, 0x47]],
  ["a picture", "name a file of records, which name their pictures", [0xff, 0xd8, 0xff]],
  ["a PDF document", "name a file of records", [...Buffer.from("%PDF-")]],
];

/** Texts that no record begins like. */
const documents: readonly (readonly [what: string, advice: string, first: RegExp])[] = [
  [
    "an HTML page",
    "an address that was not meant, or one that wants a login, answers so",
    /^<(!doctype html|html|head|body)\b/i,
  ],
  ["XML", "write its records as JSON Lines", /^<\?xml\b/i],
  ["a pointer of git-lfs and not the file", "fetch that with `git lfs pull`", /^version https:\/\/git-lfs/],
  [
    "YAML",
    "write its records as JSON Lines",
    /^(---[ \t]*\r?\n|%YAML |-[ \t]+[A-Za-z_][\w-]*:[ \t\r\n]|[A-Za-z_][\w-]*:[ \t\r\n])/,
  ],
];

/** Where a tar archive says what it is. */
const isTar = (head: Uint8Array): boolean => Buffer.from(head.subarray(257, 262)).toString("latin1") === "ustar";

/**
 * @param head the first bytes, up to `headBytes`
 * @param name the input's, for errors
 * @throws VlRewardError `input_unreadable` for a file of another kind, with how to make one that is read
 */
export function containerOf(head: Uint8Array, name: string): Container {
  const starts = (first: readonly number[]) => first.every((byte, index) => head[index] === byte);
  const other = unreadable.find(([, , first]) => starts(first));
  if (other) throw notRecords(name, other[0], other[1]);
  if (isTar(head)) throw notRecords(name, "a tar archive", "unpack it and name the file that was in it");
  const known = readable.find(([, first]) => starts(first));
  if (known) return known[0];
  if (starts([0xff, 0xfe]) || isWide(head[0], head[1])) return "utf-16le";
  if (starts([0xfe, 0xff]) || isWide(head[1], head[0])) return "utf-16be";
  return textKind(
    Buffer.from(head)
      .toString("utf8")
      .replace(/^\uFEFF/, ""),
    name,
  );
}

/** "{" or "[" and a zero: JSON in UTF-16 without a byte order mark. */
const isWide = (sign: number | undefined, zero: number | undefined): boolean =>
  (sign === 0x7b || sign === 0x5b) && zero === 0;

function textKind(text: string, name: string): Container {
  const start = text.search(/[^ \t\r\n]/);
  if (start === -1) return "lines";
  if (text[start] === "[") return "list";
  const document = documents.find(([, , first]) => first.test(text.slice(start, start + 1000)));
  if (document) throw notRecords(name, document[0], document[1]);
  const end = text.indexOf("\n", start);
  const line = text.slice(start, end === -1 ? undefined : end).trimEnd();
  // A table names its columns first; a record's line begins with a brace.
  if (/^"?[A-Za-z_]\w*"?([,;\t]"?[A-Za-z_]\w*"?)+$/.test(line)) {
    throw notRecords(
      name,
      "a table of comma- or tab-separated values",
      "write its rows as JSON Lines: `pandas.read_csv(file).to_json(out, orient='records', lines=True)`",
    );
  }
  // What writes one object over several lines breaks the first one where an object or list begins, or behind a comma.
  return end !== -1 && text[start] === "{" && /[{[,:]$/.test(line) ? "values" : "lines";
}

const notRecords = (name: string, what: string, advice: string): VlRewardError =>
  new VlRewardError(
    "input_unreadable",
    `${name} is ${what}; expected JSON Lines in UTF-8, a JSON list, parquet, or one of them packed by gzip or zstd; ${advice}`,
  );

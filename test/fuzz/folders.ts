/** @file Files in which something is wrong, or that are no files: what a folder is damaged with. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Json, mutated } from "./json.ts";
import { oneOf, type Random } from "./random.ts";

/** Damages one file of a folder -> what was done to it. Its former content is not looked at where it is no JSON. */
export function damageFile(folder: string, name: string, random: Random): string {
  const file = path.join(folder, name);
  const replace = (content: string | Uint8Array): void => {
    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, content);
  };
  const bytes = readFileSync(file);
  const kinds: Readonly<Record<string, () => void>> = {
    removed: () => rmSync(file),
    emptied: () => replace(""),
    "cut short": () => truncateSync(file, random(bytes.length)),
    "followed by bytes": () => replace(Buffer.concat([bytes, Buffer.alloc(1 + random(5000), random(256))])),
    "with other bytes": () => {
      const changed = Buffer.from(bytes);
      for (let turn = 1 + random(4); turn > 0; turn--) changed[random(changed.length)] = random(256);
      replace(changed);
    },
    "of zeros": () => replace(Buffer.alloc(bytes.length)),
    "a page of a web server": () => replace("<!DOCTYPE html><html><body>404</body></html>"),
    "a git-lfs pointer": () => replace("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4921008\n"),
    "a folder": () => {
      rmSync(file);
      mkdirSync(file);
    },
    "a pipe": () => {
      rmSync(file);
      execFileSync("mkfifo", [file]);
    },
    "a link to a device": () => {
      rmSync(file);
      symlinkSync(oneOf(random, ["/dev/zero", "/dev/null", "/dev/random"]), file);
    },
    "a link to itself": () => {
      rmSync(file);
      symlinkSync(file, file);
    },
    "a link to nothing": () => {
      rmSync(file);
      symlinkSync("nothing", file);
    },
  };
  // What is JSON is more often changed as JSON.
  if (name.endsWith(".json") && random(5) > 0) {
    replace(JSON.stringify(mutated(JSON.parse(bytes.toString("utf8")) as Json, random)));
    return `${name} changed`;
  }
  if (name.endsWith(".safetensors") && random(2) > 0) {
    replace(withOtherHeader(bytes, random));
    return `${name} with another header`;
  }
  const kind = oneOf(random, Object.keys(kinds));
  kinds[kind]?.();
  return `${name} ${kind}`;
}

/** A safetensors file whose header says something else, or claims another length. */
function withOtherHeader(bytes: Buffer, random: Random): Buffer {
  const length = Number(bytes.readBigUInt64LE());
  if (random(4) === 0) {
    const changed = Buffer.from(bytes);
    const claims = [0n, 1n, 90_000_000n, BigInt(bytes.length), 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
    changed.writeBigUInt64LE(oneOf(random, claims));
    return changed;
  }
  const header = JSON.stringify(mutated(JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Json, random));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Buffer.concat([start, Buffer.from(header), bytes.subarray(8 + length)]);
}

/**
 * @file Trains the embedded model's tokenizer on corpus.txt and writes it here:
 *
 *     npx tsc -p tsconfig.build.json && node models/tiny/make-tokenizer.mjs
 */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { saveTokenizer, trainTokenizer } from "../../dist/tokenizer/train.js";

const folder = fileURLToPath(new URL(".", import.meta.url));
const corpus = await readFile(`${folder}/corpus.txt`, "utf8");
await saveTokenizer(folder, await trainTokenizer([corpus], 1024));

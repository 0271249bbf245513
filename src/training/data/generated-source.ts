/**
 * @file A generator as a source: documents made when they are asked for, each with as many records as a document can have
 * questions, all with as many pairs. So which record is which follows from numbers alone, and nothing is made ahead; a
 * document that has fewer of them leaves records without pairs.
 */

import type { Preference } from "../../data/preference.ts";
import type { RecordSource, SourceRecord } from "./record-source.ts";

export interface DocumentGenerator<Document> {
  /** What it makes, for people. */
  readonly name: string;
  /** That a document has at most; one record each. */
  readonly questions: number;
  /** That a record has at most. */
  readonly pairs: number;
  /** About how many tokens a question of this document is computed with, told before it is made. */
  tokens(index: number): number;
  /** The document of this number: always the same. */
  document(index: number): Document | Promise<Document>;
  /** Undefined where the document has no such question. */
  preference(document: Document, question: number): Preference | undefined;
}

const nothingAsked: Preference = { id: "", prefix: [], answers: [], pairs: [], source: undefined };

/** Documents that are kept: those whose records are read next. */
const documentsKept = 64;

export class GeneratedSource<Document> implements RecordSource {
  readonly name: string;
  readonly length: number;
  readonly together: number;
  readonly #generator: DocumentGenerator<Document>;
  readonly #documents = new Map<number, Promise<Document>>();

  /** @param documents how many there are; Infinity for always another one */
  constructor(generator: DocumentGenerator<Document>, documents: number) {
    this.#generator = generator;
    this.name = generator.name;
    this.length = documents * generator.questions;
    this.together = generator.questions;
  }

  pairsOf(): number {
    return this.#generator.pairs;
  }

  tokensOf(record: number): number {
    return this.#generator.tokens(this.promptOf(record));
  }

  promptOf(record: number): number {
    return Math.floor(record / this.together);
  }

  async read(record: number): Promise<SourceRecord> {
    if (!(record >= 0 && record < this.length)) {
      throw new RangeError(`${this.name}: there is no record ${record} among ${this.length}`);
    }
    const document = await this.#document(this.promptOf(record));
    const preference = this.#generator.preference(document, record % this.together) ?? nothingAsked;
    return { preference, baseFolder: "." };
  }

  placeOf(record: number): string {
    return `${this.name}, document ${this.promptOf(record)}, question ${record % this.together}`;
  }

  async close(): Promise<void> {
    this.#documents.clear();
  }

  #document(index: number): Promise<Document> {
    return this.#documents.get(index) ?? this.#made(index);
  }

  #made(index: number): Promise<Document> {
    const [oldest] = this.#documents.keys();
    if (this.#documents.size >= documentsKept && oldest !== undefined) this.#documents.delete(oldest);
    const document = (async () => this.#generator.document(index))();
    this.#documents.set(index, document);
    document.catch(() => this.#documents.delete(index));
    return document;
  }
}

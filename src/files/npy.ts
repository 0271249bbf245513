/**
 * @file A matrix in NumPy's .npy format, version 1.0 (numpy.lib.format), that grows row by row in constant memory.
 *
 * The header has room for any number of rows and is brought up to date behind each: at every moment, also after `kill -9`,
 * the file loads with the rows that are whole.
 */
import { ftruncateSync, writeSync } from "node:fs";
import { writing } from "./durable-file.ts";
import { toFloat16 } from "./float16.ts";

/** What a number of the matrix is stored as. */
export type NpyType = "float16" | "float32";

/** NumPy's names; both little-endian, as all machines are that libtorch is published for. */
const descriptions = { float16: "<f2", float32: "<f4" } as const;

/** A multiple of 64, as the format asks for: the text below fits in with any number of rows. */
const headerBytes = 128;

export class NpyFile {
  readonly #fd: number;
  readonly #path: string;
  readonly #columns: number;
  readonly #type: NpyType;
  #rows = 0;
  #size = headerBytes;

  private constructor(fd: number, path: string, columns: number, type: NpyType) {
    this.#fd = fd;
    this.#path = path;
    this.#columns = columns;
    this.#type = type;
  }

  /**
   * Replaces what the file holds with a matrix without rows.
   *
   * @param fd of a regular file, opened for writing and not for appending
   * @param path for errors
   * @throws VlRewardError `output_unwritable`
   */
  static begin(fd: number, path: string, columns: number, type: NpyType): NpyFile {
    const file = new NpyFile(fd, path, columns, type);
    writing(path, () => {
      ftruncateSync(fd);
      file.#writeHeader();
    });
    return file;
  }

  get rows(): number {
    return this.#rows;
  }

  /** Throws VlRewardError `output_unwritable`, as when the disk is full; the file then holds the rows before. */
  append(row: Float32Array): void {
    if (row.length !== this.#columns) throw new Error(`a row of ${row.length} numbers for ${this.#columns} columns`);
    const stored = this.#type === "float32" ? row : Uint16Array.from(row, toFloat16);
    const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
    writing(this.#path, () => {
      try {
        this.#write(bytes, this.#size);
      } catch (error) {
        ftruncateSync(this.#fd, this.#size);
        throw error;
      }
      this.#size += bytes.length;
      this.#rows++;
      this.#writeHeader();
    });
  }

  #writeHeader(): void {
    const descr = descriptions[this.#type];
    const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${this.#rows}, ${this.#columns}), }`;
    const header = Buffer.alloc(headerBytes, " ");
    header.write("\x93NUMPY\x01\x00", "latin1");
    header.writeUInt16LE(headerBytes - 10, 8); // of what follows
    header.write(text, 10, "latin1");
    header.write("\n", headerBytes - 1, "latin1");
    this.#write(header, 0);
  }

  #write(bytes: Uint8Array, at: number): void {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done, at + done);
    }
  }
}

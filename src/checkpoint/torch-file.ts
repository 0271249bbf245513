/**
 * @file Files of torch.save (.bin, .pt, since PyTorch 1.6): a zip archive of a pickle, which says what the tensors are, and of
 * their bytes, uncompressed. The pickle is read by pickle.ts, which executes nothing; the tensors are then mapped where they
 * lie.
 */
import { readSync } from "node:fs";
import { VlRewardError } from "../errors.ts";
import { inMegabytes, UnsuitableFile, withRegularFile } from "../files/regular-file.ts";
import { isSystemError } from "../files/system-error.ts";
import { bytesPerElement, type FileTensor } from "../torch/index.ts";
import { assertNoPointer } from "./git-lfs.ts";
import { type PickledTensor, tensorsOfPickle, UnreadablePickle } from "./pickle.ts";

/** A file within the archive. */
interface Entry {
  readonly offset: number;
  readonly bytes: number;
}

/** Of the list of files and of the pickle; those of a model with 100,000 tensors have about so much. */
const maxListBytes = 32e6;

/**
 * -> where each tensor lies in the file. Throws `checkpoint_damaged` for a file that is truncated or no archive of
 * torch.save, `checkpoint_unsupported` for one that holds other things than plain tensors.
 */
export function readTorchFile(path: string): Map<string, FileTensor> {
  try {
    return withRegularFile(path, (descriptor, size) => {
      assertNoPointer(descriptor, size, path);
      const read = (offset: number, bytes: number): Buffer => {
        if (bytes > maxListBytes) throw new NoArchive(`a list in it takes ${inMegabytes(bytes)}`);
        const part = Buffer.alloc(bytes);
        if (offset < 0 || readSync(descriptor, part, 0, bytes, offset) < bytes) throw new NoArchive("it is cut off");
        return part;
      };
      const entries = entriesOf(read, size);
      const pickle = [...entries].find(([name]) => name.endsWith("/data.pkl"));
      if (!pickle) throw new NoArchive("it has no data.pkl");
      const [name, { offset, bytes }] = pickle;
      const root = name.slice(0, -"data.pkl".length);
      const order = entries.get(`${root}byteorder`);
      if (order && read(order.offset, order.bytes).toString() !== "little") {
        throw new UnreadablePickle("its numbers are big-endian");
      }
      const tensors = tensorsOfPickle(read(offset, bytes));
      return new Map([...tensors].map(([key, tensor]) => [key, placeOf(key, tensor, entries, root)]));
    });
  } catch (cause) {
    if (cause instanceof UnreadablePickle) {
      throw new VlRewardError(
        "checkpoint_unsupported",
        `${path}: ${cause.message}. Only plain tensors by their names are read, and nothing in the file is executed. Where ` +
          "you trust it, load it with torch and save its tensors as safetensors.",
        { cause },
      );
    }
    if (!(cause instanceof NoArchive || cause instanceof UnsuitableFile || isSystemError(cause))) throw cause;
    throw new VlRewardError(
      "checkpoint_damaged",
      `${path} is not a whole file of torch.save (since PyTorch 1.6): ${cause.message}. Download it again, or convert it: load ` +
        "it with torch and save its tensors as safetensors.",
      { cause },
    );
  }
}

/** Why a file is no archive, as a clause. */
class NoArchive extends Error {}

type Read = (offset: number, bytes: number) => Buffer;

/** The directory at the end of a zip file (APPNOTE 4.3.12 to 4.3.16), with the 64-bit forms that large files have. */
function entriesOf(read: Read, size: number): Map<string, Entry> {
  const tailBytes = Math.min(size, 65_557);
  const tail = read(size - tailBytes, tailBytes);
  const end = tail.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0 || end + 22 > tail.length) throw new NoArchive("it does not end as a zip archive does");
  let [count, bytes, offset] = [tail.readUInt16LE(end + 10), tail.readUInt32LE(end + 12), tail.readUInt32LE(end + 16)];
  const locator = end - 20;
  if (locator >= 0 && tail.readUInt32LE(locator) === 0x07064b50) {
    const record = read(Number(tail.readBigUInt64LE(locator + 8)), 56);
    [count, bytes, offset] = [32, 40, 48].map((at) => Number(record.readBigUInt64LE(at))) as [number, number, number];
  }
  const directory = read(offset, bytes);
  const entries = new Map<string, Entry>();
  for (let at = 0; entries.size < count; ) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== 0x02014b50)
      throw new NoArchive("its list is cut off");
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => directory.readUInt16LE(at + field));
    const nameEnd = at + 46 + (nameBytes ?? 0);
    const name = directory.toString("utf8", at + 46, nameEnd);
    const extra = directory.subarray(nameEnd, nameEnd + (extraBytes ?? 0));
    const [packed, unpacked, header] = wideFields(directory, at, extra);
    if (directory.readUInt16LE(at + 10) !== 0 || packed !== unpacked)
      throw new NoArchive(`${name} in it is compressed`);
    const local = read(header, 30);
    if (local.readUInt32LE(0) !== 0x04034b50) throw new NoArchive(`${name} in it is not where its list says`);
    const begin = header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
    if (begin + unpacked > size) throw new NoArchive("it is cut off");
    if (entries.has(name)) throw new NoArchive(`${name} is in it twice`);
    entries.set(name, { offset: begin, bytes: unpacked });
    at = nameEnd + (extraBytes ?? 0) + (commentBytes ?? 0);
  }
  return entries;
}

/** -> packed and unpacked size and the place of an entry; those that do not fit into 32 bits stand in the extra field. */
function wideFields(directory: Buffer, at: number, extra: Buffer): [number, number, number] {
  const fields = [20, 24, 42].map((field) => directory.readUInt32LE(at + field));
  const wide: number[] = [];
  for (let place = 0; place + 4 <= extra.length; place += 4 + extra.readUInt16LE(place + 2)) {
    if (extra.readUInt16LE(place) !== 1) continue;
    const last = Math.min(extra.length, place + 4 + extra.readUInt16LE(place + 2)) - 8;
    for (let from = place + 4; from <= last; from += 8) wide.push(Number(extra.readBigUInt64LE(from)));
  }
  // In the extra field the order is unpacked, packed, place.
  const next = (value: number): number => (value === 0xffffffff ? (wide.shift() ?? value) : value);
  const unpacked = next(fields[1] ?? 0);
  const packed = next(fields[0] ?? 0);
  return [packed, unpacked, next(fields[2] ?? 0)];
}

function placeOf(name: string, tensor: PickledTensor, entries: ReadonlyMap<string, Entry>, root: string): FileTensor {
  const { storage, offset, shape, strides, dtype } = tensor;
  const entry = entries.get(`${root}data/${storage}`);
  if (!entry) throw new NoArchive(`the bytes of "${name}" are not in it`);
  let expected = 1;
  for (const [axis, length] of [...shape.entries()].reverse()) {
    if (length !== 1 && strides[axis] !== expected) {
      throw new UnreadablePickle(`"${name}" is a view whose elements do not lie side by side`);
    }
    expected *= length;
  }
  const elements = shape.reduce((product, length) => product * length, 1);
  const width = bytesPerElement(dtype);
  if ((offset + elements) * width > entry.bytes) throw new NoArchive(`"${name}" is larger than its bytes`);
  return { offset: entry.offset + offset * width, shape, dtype };
}

/**
 * @file The safetensors format: eight bytes of header length (little endian), a JSON header of names, dtypes, shapes and
 * byte ranges, then the tensors' bytes. Reading maps the file; nothing is copied until it is touched.
 */
import { readSync } from "node:fs";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { inMegabytes, UnsuitableFile, withRegularFile } from "../files/regular-file.ts";
import { isSystemError } from "../files/system-error.ts";
import { bytesPerElement, type Dtype, type FileTensor } from "../torch/index.ts";
import { assertNoPointer } from "./git-lfs.ts";

/** The format's names for dtypes. */
export const safetensorsDtypes: ReadonlyMap<string, Dtype> = new Map([
  ["F64", "float64"],
  ["F32", "float32"],
  ["BF16", "bfloat16"],
  ["F16", "float16"],
  ["I64", "int64"],
  ["I32", "int32"],
  ["I16", "int16"],
  ["I8", "int8"],
  ["U8", "uint8"],
  ["BOOL", "bool"],
]);

const headerSchema = z.record(
  z.string(),
  z.object({
    dtype: z.string(),
    shape: z.array(z.int().nonnegative()),
    data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
  }),
);

/** Enough for 60,000 tensors. The format's own limit, 100 MB, takes half a gigabyte and seconds to be parsed. */
const maxHeaderBytes = 8_000_000;

/**
 * -> where each tensor lies in the file. Throws `checkpoint_damaged` for a file that cannot be read, is truncated or no
 * safetensors file, `checkpoint_unsupported` for a dtype that is not known here (quantised formats).
 */
export function readSafetensorsHeader(path: string): Map<string, FileTensor> {
  const damaged = (found: string): VlRewardError =>
    new VlRewardError("checkpoint_damaged", `${path} is not a whole safetensors file: ${found}. Download it again.`);
  try {
    return withRegularFile(path, (file, size) => {
      assertNoPointer(file, size, path);
      const lengthBytes = Buffer.alloc(8);
      if (readSync(file, lengthBytes, 0, 8, 0) < 8) throw damaged(`it has ${size} bytes, expected at least 8`);
      const headerBytes = Number(lengthBytes.readBigUInt64LE());
      if (headerBytes > size - 8) throw damaged(`its header claims ${headerBytes} bytes, the file has ${size}`);
      if (headerBytes > maxHeaderBytes) {
        const [found, most] = [headerBytes, maxHeaderBytes].map(inMegabytes);
        throw new VlRewardError(
          "checkpoint_unsupported",
          `${path} has a header of ${found}; at most ${most} are read.`,
        );
      }
      const header = Buffer.alloc(headerBytes);
      readSync(file, header, 0, headerBytes, 8);
      return locate(parseHeader(header, damaged), 8 + headerBytes, size, path, damaged);
    });
  } catch (cause) {
    if (!isSystemError(cause) && !(cause instanceof UnsuitableFile)) throw cause;
    throw new VlRewardError("checkpoint_damaged", `${path} cannot be read: ${cause.message}.`, { cause });
  }
}

type Header = z.infer<typeof headerSchema>;

function parseHeader(bytes: Buffer, damaged: (found: string) => VlRewardError): Header {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString("utf8"));
  } catch {
    throw damaged("its header is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw damaged("its header is not an object");
  const tensors = Object.fromEntries(Object.entries(json).filter(([name]) => name !== "__metadata__"));
  const parsed = headerSchema.safeParse(tensors);
  if (!parsed.success) throw damaged(`its header is malformed at ${parsed.error.issues[0]?.path.join(".")}`);
  return parsed.data;
}

function locate(
  header: Header,
  dataStart: number,
  size: number,
  path: string,
  damaged: (found: string) => VlRewardError,
): Map<string, FileTensor> {
  const located = new Map<string, FileTensor>();
  for (const [name, { dtype: code, shape, data_offsets }] of Object.entries(header)) {
    const dtype = safetensorsDtypes.get(code);
    if (!dtype) {
      throw new VlRewardError(
        "checkpoint_unsupported",
        `${path} stores "${name}" as ${code}; supported are ${[...safetensorsDtypes.keys()].join(", ")}. ` +
          "A quantised checkpoint has to be converted to BF16, F16 or F32 first.",
      );
    }
    const [begin, end] = data_offsets;
    const bytes = shape.reduce((product, length) => product * length, 1) * bytesPerElement(dtype);
    if (end - begin !== bytes) throw damaged(`"${name}" takes ${end - begin} bytes, its shape needs ${bytes}`);
    if (dataStart + end > size) throw damaged(`"${name}" ends at byte ${dataStart + end}, the file has ${size}`);
    located.set(name, { offset: dataStart + begin, shape, dtype });
  }
  assertSideBySide(header, size - dataStart, damaged);
  return located;
}

/** The format leaves no byte of the data unused and none used twice. */
function assertSideBySide(header: Header, dataBytes: number, damaged: (found: string) => VlRewardError): void {
  let covered = 0;
  const places = Object.entries(header).map(([name, { data_offsets }]) => ({ name, data_offsets }));
  places.sort((a, b) => a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1]);
  for (const { name, data_offsets } of places) {
    const [begin, end] = data_offsets;
    if (begin !== covered) throw damaged(`"${name}" begins at byte ${begin} of the data, expected ${covered}`);
    covered = end;
  }
  if (covered !== dataBytes) throw damaged(`its tensors take ${covered} bytes, it has ${dataBytes} for them`);
}

/**
 * @file Patterns of file names, for systems and programs that hand them on as they are written: `*` and `?` within a name,
 * `[ab]` and `[!ab]` for one character, `**` for any folders. Names that begin with a dot fit only a pattern that does.
 */
import { type Dirent, readdirSync } from "node:fs";

export const isPattern = (path: string): boolean => /[*?[]/.test(path);

/** The files that fit, sorted by name; none where there are none. */
export function filesMatching(pattern: string): string[] {
  const parts = pattern.split("/").filter((part) => part !== "");
  const found = new Set(below(pattern.startsWith("/") ? "/" : "", parts));
  return [...found].sort();
}

/** @param folder with a slash at its end, or empty for the working directory */
function below(folder: string, [part, ...rest]: readonly string[]): string[] {
  if (part === undefined) return [];
  const entries = entriesOf(folder);
  if (part === "**") {
    const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
    const deeper = folders.flatMap(({ name }) => below(`${folder}${name}/`, [part, ...rest]));
    return [...below(folder, rest.length > 0 ? rest : ["*"]), ...deeper];
  }
  if (rest.length > 0 && !isPattern(part)) return below(`${folder}${part}/`, rest);
  const fits = nameTest(part);
  const fitting = entries.filter(({ name }) => fits.test(name) && (part.startsWith(".") || !name.startsWith(".")));
  if (rest.length === 0) return fitting.filter((entry) => !entry.isDirectory()).map(({ name }) => `${folder}${name}`);
  return fitting.flatMap(({ name }) => below(`${folder}${name}/`, rest));
}

/** None where it is no folder or cannot be read: then nothing in it fits. */
function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder === "" ? "." : folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

/** "a*[!0-9].jsonl" -> a test of whole names. A bracket that is not closed stands for itself, and nothing fits [z-a]. */
function nameTest(part: string): RegExp {
  const source = part.replace(/\[(!?)([^\]]+)\]|[\s\S]/g, (piece: string, not?: string, characters?: string) => {
    if (characters !== undefined) return `[${not === "!" ? "^" : ""}${characters.replace(/[\\\]^[]/g, "\\$&")}]`;
    if (piece === "*") return ".*";
    return piece === "?" ? "." : piece.replace(/[\\^$.+()[\]{}|]/g, "\\$&");
  });
  try {
    return new RegExp(`^${source}$`, "su");
  } catch {
    return /(?!)/;
  }
}

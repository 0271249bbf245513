/** @file What an error message calls a picture or video. */

/** No message quotes more of a value than this. */
const longestName = 120;

/** A source as the user wrote it; a data URL without its data, and the middle cut out of what is very long. */
export function mediaName(source: string): string {
  if (/^data:/i.test(source)) {
    const header = source.slice(0, 60).split(",", 1)[0] ?? "";
    return `${header},… (a data URL of ${source.length} characters)`;
  }
  if (source.length <= longestName) return source;
  return `${source.slice(0, 78)}…${source.slice(-(longestName - 79))}`;
}

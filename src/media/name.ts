/** @file What an error message calls a picture or video. */

/** A source as the user wrote it; a data URL without its data, and the middle cut out of what is very long. */
export function mediaName(source: string): string {
  if (/^data:/i.test(source)) {
    const header = source.slice(0, 60).split(",", 1)[0] ?? "";
    return `${header},… (a data URL of ${source.length} characters)`;
  }
  return source.length <= 300 ? source : `${source.slice(0, 200)}…${source.slice(-80)}`;
}

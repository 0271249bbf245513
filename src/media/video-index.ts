/**
 * @file Which frame an index means. In almost every file the frame with the index-th presentation time; files that were
 * cut without re-encoding begin with packets that are decoded but not shown, and there decord's own counting matters.
 */

/** What one pass over the packets finds: presentation times in units of the stream's time base, ascending. */
export interface FrameIndex {
  /** One for each packet. */
  readonly times: readonly number[];
  /** Those of packets that show a frame: all but what an edit list cuts away. */
  readonly shown: readonly number[];
  /** Those at which decoding can begin. */
  readonly keyframes: readonly number[];
}

/** The index of a file whose frames are counted: the time of each is its number, and decoding begins with the first. */
export function countedFrames(count: number): FrameIndex {
  const times = Array.from({ length: count }, (_, number) => number);
  return { times, shown: times, keyframes: times.slice(0, 1) };
}

/**
 * The times of the frames that decord's `get_batch(indices)` gives. It numbers packets but counts frames as they come
 * out: while it reads on from the start, packets that are not shown move all that follows; a jump to another keyframe
 * finds its place by time again. Past the end it repeats the frame before. Indices lie within [0, times.length).
 */
export function presentationTimes(indices: readonly number[], { times, shown, keyframes }: FrameIndex): number[] {
  const timeAt = (index: number): number => times[index] ?? Number.NaN;
  if (shown.length === times.length) return indices.map(timeAt);
  const groupOf = (index: number): number => keyframes.findLastIndex((time) => time <= timeAt(index));
  const result: number[] = [];
  let cursor = 0; // the index that decord believes comes next
  let next = 0; // the position in `shown` of what does
  for (const index of indices) {
    if (index < cursor || (index > cursor && groupOf(index) !== groupOf(cursor))) {
      const position = shown.findIndex((time) => time >= timeAt(index));
      next = position < 0 ? shown.length : position;
    } else {
      next += index - cursor;
    }
    result.push(shown[next] ?? result.at(-1) ?? shown.at(-1) ?? Number.NaN);
    next++;
    cursor = index + 1;
  }
  return result;
}

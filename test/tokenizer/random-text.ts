/**
 * @file The random strings of test/fixtures/tokenizer: a small generator, written in the same way in the Python script
 * of that folder's README, so that the strings need not be stored.
 */

/** First and last code point of scripts, marks, signs, pictographs, and of everything but surrogates. */
const ranges: readonly (readonly [number, number])[] = [
  ...([
    [32, 126],
    [97, 122],
    [48, 57],
    [160, 591],
    [768, 879],
    [880, 1279],
    [1424, 1791],
  ] as const),
  ...([
    [2304, 2431],
    [3584, 3711],
    [4352, 4607],
    [7680, 8399],
    [8448, 8591],
    [12288, 12543],
    [19968, 40959],
  ] as const),
  ...([
    [44032, 55203],
    [65280, 65519],
    [119808, 120831],
    [127744, 128767],
    [0, 55295],
    [65536, 1114111],
  ] as const),
];

const words: readonly string[] = [
  ...[
    " ",
    " ",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "'s",
    "'LL",
    "'\u017f",
    "the",
    " The",
    "\u0085",
    "\u3000",
    "\ufeff",
    "\u200b",
  ],
  ...["<tool_call>", "<|fim_pad|>", "<|im_end|>", "<|image_pad|>", "<|"],
];

/** @returns 6,000 strings of up to 23 characters or words */
export function randomTexts(): string[] {
  let state = 20240607;
  const draw = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % limit;
  };
  const character = () => {
    const [first, last] = ranges[draw(ranges.length)] ?? [0, 0];
    return String.fromCodePoint(first + draw(last - first + 1));
  };
  return Array.from({ length: 6000 }, () =>
    Array.from({ length: draw(24) }, () => (draw(3) === 0 ? words[draw(words.length)] : character())).join(""),
  );
}

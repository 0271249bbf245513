/**
 * @file Byte-level BPE's spelling of bytes, from GPT-2: each byte is written as one printable character, so that a
 * vocabulary is plain JSON strings. Printable Latin-1 bytes stand for themselves, the 68 others take U+0100 and on in
 * the order of the bytes (a space is "Ġ", a newline "Ċ").
 */

/** `byteCharacters[byte]` is the character that stands for the byte. */
export const byteCharacters: readonly string[] = (() => {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
})();

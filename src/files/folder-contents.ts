/** @file What lies in a folder, in one sentence: for messages about a file that does not. */
import { readdirSync } from "node:fs";

/** Names that are told; longer ones are cut. */
const [most, longest] = [10, 60];

/** "It holds a, b and 3 more.", "It is empty."; nothing where it cannot be read. */
export function whatLiesIn(folder: string): string {
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch {
    return "";
  }
  if (names.length === 0) return "It is empty.";
  return `It holds ${listed(
    names.map((name) => (name.length > longest ? `${name.slice(0, longest)}...` : name)),
    most,
  )}.`;
}

/** "a, b and 3 more" */
export function listed(names: readonly string[], atMost: number): string {
  const more = names.length - atMost;
  return more > 0 ? `${names.slice(0, atMost).join(", ")} and ${more} more` : names.join(", ");
}

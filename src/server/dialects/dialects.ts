/**
 * @file All dialects, in the order in which those of one path are asked whether a body is theirs. The body alone decides; one that
 * fits two is taken by the first. A new dialect is a file of this folder and a line here.
 */

import { quote } from "../../errors.ts";
import { alignAnything } from "./align-anything.ts";
import type { Body, Dialect } from "./dialect.ts";
import { invalid } from "./fields.ts";
import { lightrft } from "./lightrft.ts";
import { llamafactory } from "./llamafactory.ts";
import { openrlhf } from "./openrlhf.ts";
import { slime } from "./slime.ts";

export const dialects: readonly Dialect[] = [openrlhf, lightrft, alignAnything, slime, llamafactory];

/** Those that answer on a path, in the order in which they are asked. */
export const dialectsOf = (path: string): readonly Dialect[] => dialects.filter(({ paths }) => paths.includes(path));

/** @throws VlRewardError `invalid_request` with the shapes of the path, for a body that none of its dialects knows */
export function dialectFor(path: string, body: Body): Dialect {
  const all = dialectsOf(path);
  const found = all.find((dialect) => dialect.detects(body, path));
  if (found) return found;
  const keys = Object.keys(body).slice(0, 20).map(quote).join(", ");
  const shapes = all.map(({ title, shape }) => `${shape} (${title})`).join("; or ");
  throw invalid(`the body has ${keys || "no key"}; ${path} expects ${shapes}`);
}

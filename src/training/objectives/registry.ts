/** @file The objectives that a stage can weigh. A new one is a file beside this one and a line here. */
import { language } from "./language.ts";
import type { Objective } from "./objective.ts";
import { pairwise } from "./pairwise.ts";

/** In the order in which losses are added up. The first has the weight 1 unless a stage says otherwise, the others 0. */
export const objectives: readonly Objective[] = [pairwise, language];

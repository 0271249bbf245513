/**
 * @file The program of a check thread (check-pool.ts): measures preferences, several at once, because those with pictures
 * wait for a disk.
 */

import { parentPort, workerData } from "node:worker_threads";
import { familyOf } from "../../models/families.ts";
import type { Processor } from "../../models/processor.ts";
import { toWire } from "../../tasks/wire-error.ts";
import type { CheckRequest, CheckTask, FromCheck } from "./check-pool.ts";
import { checkPreference } from "./record-check.ts";

const { folder, limits, media }: CheckTask = workerData;

try {
  const counter = await familyOf(folder).loadProcessor({ limits });
  parentPort?.on("message", (request: CheckRequest) => void check(counter, request));
} catch (error) {
  tell({ kind: "broken", error: toWire(error) });
}

async function check(counter: Processor, { id, preference, baseFolder, rule }: CheckRequest): Promise<void> {
  try {
    tell({
      kind: "checked",
      id,
      outcome: await checkPreference(preference, counter, rule, { baseFolder, policy: media }),
    });
  } catch (error) {
    tell({ kind: "broken", error: toWire(error) });
  }
}

function tell(message: FromCheck): void {
  parentPort?.postMessage(message);
}

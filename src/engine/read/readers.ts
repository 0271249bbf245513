/** @file Which reader answers which request. */
import { logProbsReader } from "./log-probs.ts";
import { nextTokenReader } from "./next-token.ts";
import { pooledReader } from "./pooled.ts";
import type { ReadAnswer, Reader, ReadModel, ReadRequest } from "./reader.ts";
import { rewardReader, rewardsReader } from "./reward.ts";

export function readerOf(request: ReadRequest, model: ReadModel): Reader<ReadAnswer> {
  switch (request.kind) {
    case "reward":
      return rewardReader(model);
    case "rewards":
      return rewardsReader(model);
    case "pooled":
      return pooledReader(request);
    case "logProbs":
      return logProbsReader(model);
    case "nextToken":
      return nextTokenReader(model, request.positions);
  }
}

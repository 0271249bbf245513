/** @file The program of the heartbeat's thread: beats, looks at the other ranks' beats, and tells the main thread. */
import { parentPort, workerData } from "node:worker_threads";
import { type HeartbeatMessage, type HeartbeatTask, silenceSeconds } from "./heartbeat.ts";
import { beat, leaving, storePlace } from "./process-group.ts";
import { Store } from "./store.ts";

const { environment, joinSeconds }: HeartbeatTask = workerData;
const store = Store.connect(storePlace(environment, false), joinSeconds);

interface Peer {
  readonly rank: number;
  beats: number;
  since: number; // when the beat last changed
}
const peers: Peer[] = [];
for (let rank = 0; rank < environment.worldSize; rank++) {
  if (rank !== environment.rank) peers.push({ rank, beats: 0, since: 0 });
}

setInterval(() => {
  store.add(beat(environment.rank), 1);
  const now = performance.now();
  for (const peer of peers) {
    const beats = store.add(beat(peer.rank), 0);
    if (beats !== peer.beats) Object.assign(peer, { beats, since: now });
  }
  const silent = peers.filter(
    // One that has not begun to beat is still on its way; the group waits for it.
    ({ rank, beats, since }) =>
      beats > 0 && now - since > silenceSeconds * 1000 && store.get(leaving(rank)) === undefined,
  );
  const message: HeartbeatMessage = { silent: silent.map(({ rank }) => rank) };
  parentPort?.postMessage(message);
}, 1000);

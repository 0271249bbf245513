/**
 * @file Downloads a model from a Hugging Face hub into the cache that it shares with Python.
 *
 * One request lists the files of the revision; what the cache lacks is fetched, four files at a time, each into
 * `blobs/<etag>.incomplete`, which a later run resumes. Of the weights only those are fetched that are loaded: a repository
 * may hold them a second time under other names. A file becomes a blob only when its checksum is the published one. Own requests rather than @huggingface/hub: that library neither resumes nor verifies.
 */
import { mkdir, rename, rm, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { hasCode } from "../files/system-error.ts";
import {
  absentFrom,
  cachedCommit,
  exists,
  indexName,
  isWhole,
  linkIntoSnapshot,
  missingFiles,
  type RepoFolders,
  recordRef,
  repoFolders,
  weightMapOf,
  withBlobLock,
} from "./cache.ts";
import { type Answer, ask, describe, HubUnreachable, persist, type Subject } from "./http.ts";
import { PartialFile, type PublishedFile } from "./partial-file.ts";
import type { HubSettings } from "./settings.ts";

/** What a download tells while it runs. Counts are of bytes; `total` spans all files of this download. */
export type DownloadProgress =
  | { kind: "bytes"; file: string; fileDone: number; fileTotal: number; done: number; total: number }
  | { kind: "notice"; message: string };

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

const parallelFiles = 4;
const headName = "value_head.safetensors";

/** Files of a repository's top folder that a model is loaded from; weights in other formats are left where they are. */
const neededFiles = [
  /^config[^/\\]*\.json$/,
  /^(generation|preprocessor|processor|video_preprocessor|adapter)_config\.json$/,
  /^(tokenizer|chat_template)[^/\\]*\.json$/,
  /^(vocab|added_tokens|special_tokens_map)\.json$/,
  /^(tokenizer\.model|merges\.txt|vocab\.txt)$/,
  /^[^/\\]+\.jinja$/,
];

/** Weights that are loaded where there is no index: a model's, or those of an adapter that has yet to be merged. */
const singleFiles = ["model.safetensors", "adapter_model.safetensors"];

const listing = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(z.object({ rfilename: z.string() })),
});
type Listing = z.infer<typeof listing>;

/**
 * Brings the files of `id` (`org/name`) at `revision` (branch, tag or commit) into the cache and returns the folder
 * `snapshots/<commit>`. Files that are there already, whoever put them there, are not asked for again. When the hub
 * cannot be reached, a complete snapshot of that revision is used and a notice says so.
 * @throws VlRewardError `offline`, `model_not_found`, `download_failed`, `download_corrupt`, `checkpoint_unsupported`;
 *   the signal's reason when it is aborted. Partial files stay for the next run, except corrupt ones.
 */
export async function downloadModel(
  id: string,
  revision: string,
  settings: HubSettings,
  options: DownloadOptions = {},
): Promise<string> {
  try {
    return await bringIntoCache(id, revision, settings, options);
  } catch (cause) {
    const folder = settings.cacheFolder;
    if (hasCode(cause, "ENOSPC", "EDQUOT")) {
      throw new VlRewardError(
        "download_failed",
        `The disk of ${folder} is full. Free space, or set HF_HOME to another disk, and run again: a download in the ` +
          "same cache goes on where it stopped.",
        { cause },
      );
    }
    if (hasCode(cause, "EACCES", "EPERM", "EROFS", "ENOTDIR")) {
      const said = cause instanceof Error ? cause.message : "";
      throw new VlRewardError("download_failed", `The cache ${folder} cannot be used (${said}). Set HF_HOME.`, {
        cause,
      });
    }
    throw cause;
  }
}

async function bringIntoCache(
  id: string,
  revision: string,
  settings: HubSettings,
  options: DownloadOptions,
): Promise<string> {
  const folders = repoFolders(settings.cacheFolder, id);
  const subject: Subject = { id, revision };
  const signal = options.signal ?? new AbortController().signal;
  const commit = await cachedCommit(folders, revision);
  const cached = commit === undefined ? undefined : join(folders.snapshots, commit);
  const missing = cached === undefined ? ["config.json"] : await missingFiles(cached);
  const usable = missing.length === 0 ? cached : undefined;
  if (usable !== undefined && commit === revision && (await isWhole(usable))) {
    return usable; // what a commit holds never changes
  }
  if (settings.offlineBy !== undefined) {
    if (usable !== undefined) {
      return usable;
    }
    throw new VlRewardError(
      "offline",
      `${missing.join(", ")} of ${describe(subject)} is not in the cache (${dirname(folders.snapshots)}), and ` +
        `${settings.offlineBy} switches the network off. Unset it to download.`,
    );
  }

  let published: Listing;
  try {
    // Whoever has a usable copy is not kept waiting for a network that is down.
    const patience = usable === undefined ? settings : { ...settings, retryDelays: [] };
    published = await persist(patience, signal, () => listFiles(settings, subject, signal));
  } catch (error) {
    if (!(error instanceof HubUnreachable) || usable === undefined) {
      throw error;
    }
    options.onProgress?.({ kind: "notice", message: `${error.message} Using the copy in the cache: ${usable}` });
    return usable;
  }

  const snapshot = join(folders.snapshots, published.sha);
  const download: Download = { settings, folders, subject, commit: published.sha };
  const others = neededNames(subject, published);
  const absent = await absentFrom(snapshot, namesOf(published));
  const wanted = new Set([...others, ...(await weightNames(download, snapshot, published, signal))]);
  const names = absent.filter((name) => wanted.has(name));
  await fetchAll(download, names, { ...options, signal });
  // The reference comes last: it never points to a snapshot that is only half there.
  await recordRef(folders, revision, published.sha);
  return snapshot;
}

/** What every step of one download needs to know. */
interface Download {
  readonly settings: HubSettings;
  readonly folders: RepoFolders;
  readonly subject: Subject;
  readonly commit: string;
}

async function listFiles(settings: HubSettings, subject: Subject, signal: AbortSignal) {
  const path = `/api/models/${subject.id}/revision/${encodeURIComponent(subject.revision)}`;
  return ask(settings, subject, { method: "GET", path }, signal, async (answer) => {
    const parts: Uint8Array[] = [];
    for await (const chunk of answer.chunks()) {
      parts.push(chunk);
    }
    try {
      return listing.parse(JSON.parse(Buffer.concat(parts).toString("utf8")));
    } catch (cause) {
      // Login pages of hotels and trains answer 200 to everything.
      throw new HubUnreachable(`${settings.endpoint}${path} does not answer as a hub does; check HF_ENDPOINT.`, {
        cause,
      });
    }
  });
}

/** All but the weights. */
function neededNames(subject: Subject, published: Listing): string[] {
  const names = namesOf(published).filter((name) => neededFiles.some((pattern) => pattern.test(name)));
  if (!names.includes("config.json")) {
    throw new VlRewardError("model_not_found", `${describe(subject)} has no config.json: it is not a model.`);
  }
  return names;
}

/** The files that the index names, which is fetched for that, or the single one; and the head beside them. */
async function weightNames(
  download: Download,
  snapshot: string,
  published: Listing,
  signal: AbortSignal,
): Promise<string[]> {
  const all = namesOf(published);
  const files = all.filter((name) => /^[^/\\]+\.safetensors$/.test(name));
  const withHead = (weights: readonly string[]): string[] => [...weights, ...files.filter((name) => name === headName)];
  if (all.includes(indexName) && files.length > 0) {
    // Without a word: when the others are fetched it is found there, and its bytes are counted with theirs.
    await fetchAll(download, await absentFrom(snapshot, [indexName]), { signal });
    const named = new Set(Object.values((await weightMapOf(snapshot)) ?? {}));
    return withHead([indexName, ...files.filter((name) => named.has(name))]);
  }
  const single = singleFiles.find((name) => files.includes(name));
  if (single !== undefined) return withHead([single]);
  const others = all.filter((name) => /\.(safetensors|bin|pt|pth|gguf|onnx|h5|msgpack)$/.test(name));
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${describe(download.subject)} has neither model.safetensors nor ${indexName} ` +
      `(${others.length > 0 ? `only ${others.join(", ")}` : "no weights at all"}). Convert it to safetensors first.`,
  );
}

const namesOf = (published: Listing): string[] => published.siblings.map((sibling) => sibling.rfilename);

async function fetchAll(
  download: Download,
  names: readonly string[],
  options: DownloadOptions & { signal: AbortSignal },
): Promise<void> {
  const files = await inParallel(names, options.signal, (name, signal) => publishedFile(download, name, signal));
  const total = files.reduce((sum, file) => sum + file.size, 0);
  await noticeIfDiskIsSmall(download, total, options);
  const doneBy = new Map<string, number>();
  let done = 0;
  const fetchOne = async (file: PublishedFile, signal: AbortSignal): Promise<void> => {
    const report = (fileDone: number): void => {
      done += fileDone - (doneBy.get(file.name) ?? 0);
      doneBy.set(file.name, fileDone);
      options.onProgress?.({ kind: "bytes", file: file.name, fileDone, fileTotal: file.size, done, total });
    };
    const onWait = (): void =>
      options.onProgress?.({ kind: "notice", message: `Another process is downloading ${file.name}; waiting for it.` });
    await withBlobLock(download.folders, file.etag, { signal, onWait }, async () => {
      const blob = join(download.folders.blobs, file.etag);
      const isNew = !(await exists(blob));
      const pointer = join(download.folders.snapshots, download.commit, file.name);
      if (isNew && !(await exists(pointer))) {
        await fetchBlob(download, file, blob, report, signal);
      }
      if (!(await exists(pointer))) {
        await linkIntoSnapshot(blob, pointer, isNew);
      }
      report(file.size);
    });
  };
  // Where there is a config.json all others are there too: a pinned commit is not asked for again.
  const isLast = (file: PublishedFile): boolean => file.name === "config.json";
  await inParallel(
    files.filter((file) => !isLast(file)),
    options.signal,
    fetchOne,
  );
  await inParallel(files.filter(isLast), options.signal, fetchOne);
}

/** Asks for checksum and size of a file, pinned to the commit. */
async function publishedFile(download: Download, name: string, signal: AbortSignal): Promise<PublishedFile> {
  const { settings, commit } = download;
  const subject = { ...download.subject, file: name };
  const request = { method: "HEAD", path: resolvePath(download, name) } as const;
  return persist(settings, signal, () =>
    ask(settings, subject, request, signal, async ({ headers }) => {
      const etag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "").replace(/^W\//, "").replaceAll('"', "");
      const size = Number(headers.get("x-linked-size") ?? headers.get("content-length") ?? "NaN");
      const sent = headers.get("x-repo-commit");
      if (!/^[\w-][\w.-]*$/.test(etag) || !Number.isSafeInteger(size) || sent !== commit) {
        throw new VlRewardError(
          "download_failed",
          `${describe(subject)}: ${settings.endpoint} gave etag "${etag}", size ${size}, commit ${sent}; expected a ` +
            `checksum, a number of bytes and ${commit}. Check HF_ENDPOINT and proxies.`,
        );
      }
      return { name, etag, size };
    }),
  );
}

function resolvePath({ subject, commit }: Download, name: string): string {
  return `/${subject.id}/resolve/${commit}/${encodeURIComponent(name)}`;
}

/** Fetches what `<blob>.incomplete` lacks, verifies the whole and gives it its final name. */
async function fetchBlob(
  download: Download,
  file: PublishedFile,
  blob: string,
  report: (fileDone: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { settings } = download;
  const subject = { ...download.subject, file: file.name };
  await mkdir(dirname(blob), { recursive: true });
  const path = `${blob}.incomplete`;
  const partial = await PartialFile.open(path, file);
  try {
    report(partial.size);
    const fetchRest = (): Promise<void> => {
      const headers: Record<string, string> = partial.size > 0 ? { range: `bytes=${partial.size}-` } : {};
      const request = { method: "GET", path: resolvePath(download, file.name), headers } as const;
      return ask(settings, subject, request, signal, async (answer) => {
        if (startOf(answer) !== partial.size) {
          await partial.restart(); // the server ignores ranges: it sends the file from its beginning
        }
        for await (const chunk of answer.chunks()) {
          await partial.append(chunk);
          report(partial.size);
          if (partial.size > file.size) {
            return;
          }
        }
        if (partial.size < file.size) {
          throw new HubUnreachable(`${describe(subject)}: the server sent ${partial.size} of ${file.size} bytes.`);
        }
      });
    };
    if (partial.size < file.size) {
      await persist(settings, signal, fetchRest, () => partial.size);
    }
    const found = partial.size === file.size ? partial.checksum() : `${partial.size} bytes`;
    const expected = partial.size === file.size ? file.etag : `${file.size} bytes`;
    if (found !== expected) {
      await rm(path, { force: true });
      throw new VlRewardError(
        "download_corrupt",
        `${describe(subject)} arrived with checksum or size ${found}; published is ${expected}. The download was ` +
          "deleted; run again, and if it happens again, look for a proxy that alters data.",
      );
    }
    await partial.sync();
    await rename(path, blob);
  } finally {
    await partial.close();
  }
}

/** Byte at which the body of an answer begins. */
function startOf(answer: Answer): number {
  const range = /^bytes (\d+)-/.exec(answer.headers.get("content-range") ?? "");
  return answer.status === 206 && range !== null ? Number(range[1]) : 0;
}

async function noticeIfDiskIsSmall({ settings }: Download, total: number, options: DownloadOptions): Promise<void> {
  if (total === 0) {
    return;
  }
  await mkdir(settings.cacheFolder, { recursive: true });
  const disk = await statfs(settings.cacheFolder);
  const free = disk.bavail * disk.bsize;
  if (free < total) {
    const message = `${settings.cacheFolder} has ${free} bytes free, up to ${total} are needed: the disk may fill up.`;
    options.onProgress?.({ kind: "notice", message });
  }
}

/** Runs `run` on all items, `parallelFiles` at a time, in order. The first failure stops the others and is thrown. */
async function inParallel<T, R>(
  items: readonly T[],
  signal: AbortSignal,
  run: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const results: R[] = [];
  const failures: unknown[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) {
      try {
        either.throwIfAborted();
        results[index] = await run(item, either);
      } catch (error) {
        failures.push(error);
        stop.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: parallelFiles }, worker));
  if (failures.length > 0) {
    throw failures[0];
  }
  return results;
}

/**
 * @file From what a person writes after `--model` to a folder on this machine: `tiny` is the embedded model, an existing
 * folder is itself, `org/name` or `org/name@revision` is a model of the hub. What is spelt as a path is never looked for on the
 * hub.
 */
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { VlRewardError } from "../errors.ts";
import { exists } from "./cache.ts";
import type { DownloadOptions } from "./download.ts";
import { hubSettings } from "./settings.ts";

export interface LocateOptions extends DownloadOptions {
  /** The folder of the model that is called `tiny`. */
  readonly embedded: string;
  /** Branch, tag or commit of a hub model; `main` when neither this nor `@revision` is given. */
  readonly revision?: string | undefined;
}

/**
 * Returns the folder with the model's config.json, downloading the model when it is one of the hub. The environment says
 * where the cache and the hub are (settings.ts).
 * @throws VlRewardError `model_not_found`, `usage` for a contradicting revision, and what `downloadModel` throws
 */
export async function locateModel(model: string, options: LocateOptions): Promise<string> {
  if (model === "tiny") {
    return modelFolder(options.embedded, options.revision);
  }
  const isFolder = await stat(model).then(
    (found) => found.isDirectory(),
    () => undefined,
  );
  if (isFolder === true) {
    return modelFolder(model, options.revision);
  }
  if (isFolder === false) {
    throw new VlRewardError("model_not_found", `${model} is a file; expected the folder of a model, or a hub id.`);
  }
  const name = parseHubId(model);
  if (name === undefined) throw new VlRewardError("model_not_found", await nothingThere(model));
  const revision = name.revision ?? options.revision ?? "main";
  if (options.revision !== undefined && options.revision !== revision) {
    throw new VlRewardError(
      "usage",
      `The model is ${model} but the revision ${options.revision}: give one of the two.`,
    );
  }
  checkRevision(revision);
  try {
    const { downloadModel } = await import("./download.ts"); // not needed for a folder, which starts sooner without
    return await downloadModel(name.id, revision, await hubSettings(process.env), options);
  } catch (error) {
    if (error instanceof VlRewardError && ["model_not_found", "offline", "download_failed"].includes(error.code)) {
      // A mistyped relative folder looks like a hub id.
      throw new VlRewardError(error.code, `${error.message} There is no folder ${model} either.`, { cause: error });
    }
    throw error;
  }
}

async function modelFolder(folder: string, revision: string | undefined): Promise<string> {
  if (!(await exists(join(folder, "config.json")))) {
    throw new VlRewardError(
      "model_not_found",
      `The folder ${folder} has no config.json; expected the folder of a model in the Hugging Face format.`,
    );
  }
  if (revision !== undefined) {
    throw new VlRewardError("usage", `${folder} is a folder and has no revisions; leave out "${revision}".`);
  }
  return folder;
}

// The hub's own rules: letters, digits, "-", "_", "."; no "--" or "..", no ".git"; neither part starts or ends in "-" or ".".
const hubId = /^(?!.*(?:--|\.\.))(?!.*\.git$)\w(?:[\w.-]*\w)?\/\w(?:[\w.-]{0,94}\w)?$/;

/** -> undefined for what is none, as every path that begins or ends as only paths do, or has more than two parts */
function parseHubId(model: string): { id: string; revision: string | undefined } | undefined {
  const at = model.indexOf("@");
  const id = at < 0 ? model : model.slice(0, at);
  return hubId.test(id) ? { id, revision: at < 0 ? undefined : model.slice(at + 1) } : undefined;
}

/** Says of a path what stands beside the part of it that is missing. */
async function nothingThere(model: string): Promise<string> {
  if (!/[/\\]/.test(model)) {
    return `There is no model "${model}"; expected a folder, "tiny", or a hub id such as org/name or org/name@revision.`;
  }
  let missing = model.replace(/(?<=.)\/+$/, "");
  while (!(await exists(dirname(missing)))) missing = dirname(missing);
  const folder = dirname(missing);
  const beside = await readdir(folder).catch((): string[] => []);
  const listed = beside.slice(0, 8).join(", ") + (beside.length > 8 ? ", ..." : "");
  const there = `${folder === "." ? "the working directory" : folder} holds ${listed || "nothing"}`;
  const home = model.startsWith("~") ? ' "~" is for the shell to replace, which it does not within quotes.' : "";
  return `There is no folder ${model}: ${there}. Expected a folder with a config.json.${home}`;
}

/** A revision becomes a path below `refs/` and a part of an address: only what git allows in a name may pass. */
function checkRevision(revision: string): void {
  const parts = revision.split("/");
  if (parts.some((part) => !/^[\w+=-][\w.+=-]*$/.test(part) || part.includes(".."))) {
    throw new VlRewardError("usage", `"${revision}" is not a revision; expected a branch, a tag or a commit hash.`);
  }
}

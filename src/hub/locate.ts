/**
 * @file From what a person writes after `--model` to a folder on this machine: `tiny` is the embedded model, an existing
 * folder is itself, `org/name` or `org/name@revision` is a model of the hub. What is spelt as a path is never looked for on the
 * hub.
 */
import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { whatLiesIn } from "../files/folder-contents.ts";
import { readJson } from "../files/json.ts";
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
 * Returns the folder with the model's config.json, or an adapter's adapter_config.json, downloading the model when it is one of the hub. The environment says
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
  if (!(await exists(join(folder, "config.json"))) && !(await exists(join(folder, adapterConfig)))) {
    throw new VlRewardError(
      "model_not_found",
      `The folder ${folder} has no config.json; expected the folder of a model in the Hugging Face format. ` +
        whatLiesIn(folder),
    );
  }
  if (revision !== undefined) {
    throw new VlRewardError("usage", `${folder} is a folder and has no revisions; leave out "${revision}".`);
  }
  return folder;
}

const adapterConfig = "adapter_config.json";
const weightNames = ["model.safetensors", "model.safetensors.index.json"];
const belonging = z.looseObject({ base_model_name_or_path: z.string().min(1).nullish() });

/**
 * Returns the folder of the model that an adapter belongs to: the one that is given, or that the adapter names, by a folder (from
 * here or from the adapter's own) or a hub id. Undefined where `folder` is no adapter.
 * @param given a folder, hub id or `tiny`
 * @throws VlRewardError `usage` for a base of what is no adapter, and what `locateModel` throws
 */
export async function locateBase(
  folder: string,
  given: string | undefined,
  options: Omit<LocateOptions, "revision">,
): Promise<string | undefined> {
  if (!(await isAdapter(folder))) {
    if (given === undefined) return undefined;
    throw new VlRewardError("usage", `${folder} is no adapter, so that it has no base; leave out --base ${given}.`);
  }
  const file = join(folder, adapterConfig);
  const named = given ?? belonging.safeParse(readJson(file)).data?.base_model_name_or_path;
  if (!named) {
    throw new VlRewardError(
      "config_invalid",
      `${file} names no base_model_name_or_path: name the model that the adapter was trained on with --base.`,
    );
  }
  const beside = resolve(folder, named);
  const base = given === undefined && (await exists(join(beside, "config.json"))) ? beside : named;
  const found = await locateModel(base, options).catch((error: unknown) => {
    if (!(error instanceof VlRewardError) || given !== undefined) throw error;
    const hint = `${folder} is an adapter of ${named.slice(0, 200)}. ${error.message} Name its folder or hub id with --base.`;
    throw new VlRewardError(error.code, hint, { cause: error });
  });
  if (!(await isAdapter(found))) return found;
  throw new VlRewardError(
    "checkpoint_unsupported",
    `${found}, the base of ${folder}, is an adapter itself: merge it first.`,
  );
}

/** Whether a folder is of an adapter, with no weights of a whole model. */
export async function isAdapter(folder: string): Promise<boolean> {
  const [adapter, ...weights] = await Promise.all(
    [adapterConfig, ...weightNames].map((name) => exists(join(folder, name))),
  );
  return adapter === true && !weights.includes(true);
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

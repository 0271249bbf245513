/** @file Pictures and videos of a question: files of this computer, kept by the server under a hash. */

import { type ContentPart, register } from "../api.ts";

export interface Medium {
  readonly name: string;
  readonly kind: "image" | "video";
  readonly file: Blob;
  /** For the page to show it. */
  readonly url: string;
}

export function mediumOf(file: Blob, name: string): Medium | undefined {
  const [kind] = file.type.split("/");
  if (kind !== "image" && kind !== "video") return undefined;
  return { name, kind, file, url: URL.createObjectURL(file) };
}

const registered = new WeakMap<Blob, Promise<string>>();

/** As a part of a message; each file is sent once. */
export async function partOf({ file, kind }: Medium, signal: AbortSignal): Promise<ContentPart> {
  const known = registered.get(file) ?? register(file, signal);
  registered.set(file, known);
  known.catch(() => registered.delete(file));
  const id = await known;
  return kind === "image" ? { type: "image", image: id } : { type: "video", video: id };
}

export function dataUrlOf(file: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** The same without the server: whole in a record, a link or the history. */
export async function wholePart({ file, kind }: Medium): Promise<ContentPart> {
  const url = await dataUrlOf(file);
  return kind === "image" ? { type: "image", image: url } : { type: "video", video: url };
}

/** The other way; fetch does not read data URLs under the pages' policy. */
export function blobOf(dataUrl: string): Blob {
  const comma = dataUrl.indexOf(",");
  const type = /^data:([^;,]*)/.exec(dataUrl)?.[1] ?? "";
  const bytes = Uint8Array.from(atob(dataUrl.slice(comma + 1)), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type });
}

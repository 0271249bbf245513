/** @file What the pages ask of the server: docs/serving.md describes it. */

export interface Model {
  readonly id: string;
  readonly has_image_understanding: boolean;
}

export interface TokenReward {
  readonly text: string;
  /** Of the answer, if it ended here. */
  readonly reward: number;
}

/** Of a question with its answers. */
export interface Ranking {
  readonly scores: readonly number[];
  readonly best: number;
  readonly tokens: readonly (readonly TokenReward[])[];
}

export type ContentPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "image" | "video"; readonly image?: string; readonly video?: string };

export interface CandidatesRecord {
  readonly messages: readonly { readonly role: string; readonly content: string | readonly ContentPart[] }[];
  readonly responses: readonly string[];
}

export async function models(): Promise<readonly Model[]> {
  const { data } = await answered(await fetch("/v1/models"));
  return data;
}

/** -> the name under which the server keeps it */
export async function register(file: Blob, signal: AbortSignal): Promise<string> {
  const headers = { "content-type": file.type.startsWith("image/") ? file.type : "application/octet-stream" };
  const { id } = await answered(await fetch("/v1/media", { method: "POST", headers, body: file, signal }));
  return id;
}

export async function rank(record: CandidatesRecord, model: string, signal: AbortSignal): Promise<Ranking> {
  const body = JSON.stringify({ model, items: [record], per_token: true, priority: 1 });
  const headers = { "content-type": "application/json" };
  const { data } = await answered(await fetch("/v1/rewards", { method: "POST", headers, body, signal }));
  const [result] = data;
  if (result.error) throw new Error(result.error.message);
  return result;
}

// biome-ignore lint/suspicious/noExplicitAny: the server's own answers, whose shapes the callers name
async function answered(response: Response): Promise<any> {
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  throw new Error(body.error?.message ?? `the server answered ${response.status}`);
}

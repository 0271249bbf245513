/**
 * @file A checkpoint's chat template (Jinja), rendered so that it stays known who wrote what.
 *
 * Users' texts are replaced by marks before rendering and put back after it: what the template wrote and what users
 * wrote are separate segments, and no text can pose as the template's. The template has to print every text as it is.
 * One that trims or rewrites texts, or that decides by them, is refused: rendering the texts themselves must give the
 * same conversation. That is checked for each, because it can depend on the text (`| trim`).
 */

import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { z } from "zod";
import { VlRewardError } from "../errors.ts";
import { parseJsonFile, readIfThere } from "./config-file.ts";

/** A turn, as far as a template sees it; pictures and videos are only places. */
export interface TemplateMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string | readonly TemplatePart[];
}

export type TemplatePart = { readonly type: "text"; readonly text: string } | { readonly type: "image" | "video" };

export interface Segment {
  readonly writer: "template" | "user";
  readonly text: string;
}

/** Two private-use characters around the text's number; not white space, so that `| trim` leaves them. */
const markOf = (index: number) => `\u{e000}${index}\u{e001}`;
const marks = /\u{e000}(\d+)\u{e001}/gu;

const namedTemplates = z.array(z.object({ name: z.string(), template: z.string() }));
const templateValue = z.union([z.string(), namedTemplates, z.record(z.string(), z.string())]);
const templateFile = z.object({ chat_template: templateValue });

const specialToken = z.union([z.string(), z.object({ content: z.string() }), z.null()]).optional();
const tokenizerConfig = z.object({
  chat_template: templateValue.optional(),
  bos_token: specialToken,
  eos_token: specialToken,
  pad_token: specialToken,
  unk_token: specialToken,
});

export class ChatTemplate {
  readonly #template: Template;
  readonly #variables: Readonly<Record<string, string>>;

  /** @param variables what the template may name besides the messages, e.g. `eos_token` */
  constructor(source: string, variables: Readonly<Record<string, string>> = {}) {
    try {
      this.#template = new Template(source);
    } catch (error) {
      throw new VlRewardError("config_invalid", `the chat template is not valid Jinja: ${reason(error)}`, {
        cause: error,
      });
    }
    this.#variables = variables;
  }

  /**
   * Takes chat_template.jinja, else chat_template.json, else tokenizer_config.json, as transformers' processors do; of
   * several named templates the one called "default".
   *
   * @throws config_invalid if there is none or it cannot be read
   */
  static async load(folder: string): Promise<ChatTemplate> {
    const configText = await readIfThere(folder, "tokenizer_config.json");
    const configPath = join(folder, "tokenizer_config.json");
    const config = configText === undefined ? {} : parseJsonFile(configPath, configText, tokenizerConfig);
    const { chat_template: inConfig, ...specialTokens } = config;
    const variables: Record<string, string> = {};
    for (const [name, token] of Object.entries(specialTokens)) {
      if (token) variables[name] = typeof token === "string" ? token : token.content;
    }
    const source =
      (await readIfThere(folder, "chat_template.jinja")) ??
      (await readTemplateJson(folder)) ??
      (inConfig === undefined ? undefined : defaultOf(inConfig, configPath));
    if (source === undefined) {
      const message =
        `${folder} has no chat template: expected chat_template.jinja, chat_template.json, or chat_template in ` +
        "tokenizer_config.json";
      throw new VlRewardError("config_invalid", message);
    }
    return new ChatTemplate(source, variables);
  }

  /**
   * The conversation in order, without a generation prompt. A template adds its default system turn itself. Joined, the
   * segments are what transformers renders.
   *
   * @throws config_invalid if the template fails, or does not print the texts as they are
   */
  render(messages: readonly TemplateMessage[]): Segment[] {
    const texts: string[] = [];
    const marked = this.#print(messages, (text) => {
      if (text === "") return ""; // nothing to protect, and a template may ask whether there is text
      texts.push(text);
      return markOf(texts.length - 1);
    });
    const segments: Segment[] = [];
    let from = 0;
    for (const match of marked.matchAll(marks)) {
      segments.push({ writer: "template", text: marked.slice(from, match.index) });
      segments.push({ writer: "user", text: texts[Number(match[1])] ?? "" });
      from = match.index + match[0].length;
    }
    segments.push({ writer: "template", text: marked.slice(from) });
    const plain = this.#print(messages, (text) => text);
    if (segments.map((segment) => segment.text).join("") !== plain) {
      const message =
        "the chat template changes the text of a turn (it trims or rewrites it, or decides by it), which is not " +
        "supported: use a template that prints texts as they are, such as Qwen2.5-VL's";
      throw new VlRewardError("config_invalid", message);
    }
    return segments.filter((segment) => segment.text !== "");
  }

  #print(messages: readonly TemplateMessage[], replace: (text: string) => string): string {
    const replaced = messages.map(({ role, content }) => ({
      role,
      content:
        typeof content === "string"
          ? replace(content)
          : content.map((part) =>
              part.type === "text" ? { type: part.type, text: replace(part.text) } : { type: part.type },
            ),
    }));
    try {
      return this.#template.render({ ...this.#variables, messages: replaced, add_generation_prompt: false });
    } catch (error) {
      throw new VlRewardError("config_invalid", `the chat template refuses the conversation: ${reason(error)}`, {
        cause: error,
      });
    }
  }
}

async function readTemplateJson(folder: string): Promise<string | undefined> {
  const path = join(folder, "chat_template.json");
  const text = await readIfThere(folder, "chat_template.json");
  return text === undefined ? undefined : defaultOf(parseJsonFile(path, text, templateFile).chat_template, path);
}

function defaultOf(value: z.infer<typeof templateValue>, path: string): string {
  if (typeof value === "string") return value;
  const named = Array.isArray(value) ? Object.fromEntries(value.map((one) => [one.name, one.template])) : value;
  const source = named.default;
  if (source !== undefined) return source;
  throw new VlRewardError("config_invalid", `${path}: none of the chat templates is named "default"`);
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

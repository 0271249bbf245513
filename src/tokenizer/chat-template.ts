/**
 * @file A checkpoint's chat template (Jinja), rendered so that no text can pose as a control token, though the template
 * may trim texts, read and rearrange them.
 *
 * Control tokens are looked for while characters of theirs are hidden in users' texts. With these put back, the result
 * has to be that of rendering the texts as they are: it can differ where a template decides by the hidden characters,
 * and such a template is refused.
 */

import { join } from "node:path";
import { z } from "zod";
import type { Role } from "../conversation.ts";
import { VlRewardError } from "../errors.ts";
import { anyOf } from "./added-tokens.ts";
import type { TemplateInput } from "./bounded-interpreter.ts";
import { parseJsonFile, readIfThere } from "./config-file.ts";
import { hidingFor } from "./hiding.ts";
import { compileTemplate, type Render } from "./jinja.ts";

/** A turn, as far as a template sees it; pictures and videos are only places. */
export interface TemplateMessage {
  readonly role: Role;
  readonly content: string | readonly TemplatePart[];
}

export type TemplatePart = { readonly type: "text"; readonly text: string } | { readonly type: "image" | "video" };

/** A control token that the template wrote, or what lies between two of them, whoever wrote its parts. */
export interface Segment {
  readonly isControlToken: boolean;
  readonly text: string;
}

export interface TemplateOptions {
  /** Contents in parts are joined to one string, as templates of models want them that read text only. */
  readonly textOnly?: boolean;
}

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

/** Published ones have a few thousand characters. */
const maxTemplate = 256_000;

export class ChatTemplate {
  readonly #render: Render;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #textOnly: boolean;

  /** @param variables what the template may name besides the messages, e.g. `eos_token` */
  constructor(source: string, variables: Readonly<Record<string, string>> = {}, options: TemplateOptions = {}) {
    if (source.length > maxTemplate) {
      const message = `the chat template has ${source.length} characters, expected at most ${maxTemplate}`;
      throw new VlRewardError("config_invalid", message);
    }
    try {
      this.#render = compileTemplate(source);
    } catch (error) {
      throw new VlRewardError("config_invalid", `the chat template is not valid Jinja: ${reason(error)}`, {
        cause: error,
      });
    }
    this.#variables = variables;
    this.#textOnly = options.textOnly === true;
  }

  /**
   * Takes chat_template.jinja, else chat_template.json, else tokenizer_config.json, as transformers' processors do; of
   * several named templates the one called "default".
   *
   * @throws config_invalid if there is none or it cannot be read
   */
  static async load(folder: string, options: TemplateOptions = {}): Promise<ChatTemplate> {
    const configText = readIfThere(folder, "tokenizer_config.json");
    const configPath = join(folder, "tokenizer_config.json");
    const config = configText === undefined ? {} : parseJsonFile(configPath, configText, tokenizerConfig);
    const { chat_template: inConfig, ...specialTokens } = config;
    const variables: Record<string, string> = {};
    for (const [name, token] of Object.entries(specialTokens)) {
      if (token) variables[name] = typeof token === "string" ? token : token.content;
    }
    const source =
      readIfThere(folder, "chat_template.jinja") ??
      readTemplateJson(folder) ??
      (inConfig === undefined ? undefined : defaultOf(inConfig, configPath));
    if (source === undefined) {
      const message =
        `${folder} has no chat template: expected chat_template.jinja, chat_template.json, or chat_template in ` +
        "tokenizer_config.json";
      throw new VlRewardError("config_invalid", message);
    }
    return new ChatTemplate(source, variables, options);
  }

  /**
   * The conversation in order, without a generation prompt. A template adds its default system turn itself. Joined, the
   * segments are what transformers renders.
   *
   * @param controlTokens without any, all is one segment
   * @throws config_invalid if the template fails, or decides by characters of control tokens in texts; invalid_roles if it
   *   leaves out a turn that not every template has a place for
   */
  render(messages: readonly TemplateMessage[], controlTokens: Iterable<string> = []): Segment[] {
    this.#assertPlaces(messages);
    const tokens = [...controlTokens];
    const { signs, hide, restore } = hidingFor(tokens, textsOf(messages));
    const plain = this.#print(messages, (text) => text);
    const hidden = signs.length === 0 ? plain : this.#print(messages, hide);
    if (restore(hidden) !== plain) {
      const message =
        `the chat template decides by characters in the text of a turn (${signs.join(" ")}) that control tokens are ` +
        "spelled with, which is not supported: expected a template that only prints them";
      throw new VlRewardError("config_invalid", message);
    }
    const segments: Segment[] = [];
    const addText = (from: number, to: number) => {
      if (to > from) segments.push({ isControlToken: false, text: restore(hidden.slice(from, to)) });
    };
    let from = 0;
    for (const match of tokens.length === 0 ? [] : hidden.matchAll(anyOf(tokens))) {
      addText(from, match.index);
      segments.push({ isControlToken: true, text: match[0] });
      from = match.index + match[0].length;
    }
    addText(from, hidden.length);
    return segments;
  }

  /** Of a tool, a developer, or a system that is not the first: templates pass over what they do not know. */
  #assertPlaces(messages: readonly TemplateMessage[]): void {
    const asked = messages.flatMap(({ role }, turn) =>
      role === "tool" || role === "developer" || (role === "system" && turn > 0) ? [{ role, turn }] : [],
    );
    if (asked.length === 0) return;
    const signOf = (turn: number) => `\u{e000}${turn}\u{e001}`;
    const signed = messages.map(({ role }, turn) => ({ role, content: signOf(turn) }));
    const printed = this.#print(signed, (text) => text);
    for (const { role, turn } of asked) {
      if (printed.includes(signOf(turn))) continue;
      const place = role === "system" ? "a system turn that is not the first" : `a turn of the role "${role}"`;
      const message = `messages[${turn}].role: the model's chat template has no place for ${place}; write it into another turn`;
      throw new VlRewardError("invalid_roles", message);
    }
  }

  #print(messages: readonly TemplateMessage[], change: (text: string) => string): string {
    const changed = messages.map(({ role, content }) => {
      if (typeof content === "string") return { role, content: change(content) };
      if (this.#textOnly) return { role, content: textsOf([{ role, content }]).map(change).join("") };
      return {
        role,
        content: content.map((part) =>
          part.type === "text" ? { type: part.type, text: change(part.text) } : { type: part.type },
        ),
      };
    });
    // transformers gives a template tools and documents too: none.
    const variables = { tools: null, documents: null, ...this.#variables };
    try {
      return this.#render({ ...variables, messages: changed, add_generation_prompt: false }, sizeOf(messages));
    } catch (error) {
      if (error instanceof VlRewardError) throw error;
      throw new VlRewardError("config_invalid", `the chat template refuses the conversation: ${reason(error)}`, {
        cause: error,
      });
    }
  }
}

const sizeOf = (messages: readonly TemplateMessage[]): TemplateInput => ({
  turns: messages.reduce((sum, { content }) => sum + 1 + (typeof content === "string" ? 0 : content.length), 0),
  characters: textsOf(messages).reduce((sum, text) => sum + text.length, 0),
});

function textsOf(messages: readonly TemplateMessage[]): string[] {
  return messages.flatMap(({ content }) =>
    typeof content === "string" ? [content] : content.flatMap((part) => (part.type === "text" ? [part.text] : [])),
  );
}
function readTemplateJson(folder: string): string | undefined {
  const path = join(folder, "chat_template.json");
  const text = readIfThere(folder, "chat_template.json");
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

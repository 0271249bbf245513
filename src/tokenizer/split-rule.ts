/**
 * @file A split rule of tokenizer.json, which is written for Oniguruma (Ruby's spelling), as a regular expression of
 * JavaScript that matches the same. What this does not understand is refused by name: a rule that is taken nearly right
 * gives other ids in rare texts only.
 *
 * Where the spelling is the same, the meaning may differ:
 * - `(?i:` is spelled out, with U+017F (long s) and U+212A (Kelvin), which fold to s and k;
 * - `\s` is Unicode's White_Space (JavaScript's own counts U+FEFF and not U+0085), `\d` is `\p{Nd}`, `.` is all but "\n";
 * - characters have the categories of Unicode 16, as in Hugging Face's tokenizers, whatever Node knows.
 */

import { VlRewardError } from "../errors.ts";
import { becameOtherLetter, youngCharacters } from "./unicode-versions.ts";

/** @throws config_invalid for a construct that is not understood, and for a rule that can match the empty text */
export function compileSplitRule(rule: string): RegExp {
  return new RegExp(new Translation(rule).whole(), "gv");
}

/** A part of the rule in JavaScript's spelling. */
interface Part {
  readonly source: string;
  /** The fewest characters that it takes. */
  readonly least: number;
}

/** What stands for one character: the character itself, or a class of several. */
type Member = { readonly sign: string } | { readonly set: string };

const categories = new Set(
  "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp Cc Cf".split(" "),
);
const controlEscapes = new Map(Object.entries({ n: "\n", r: "\r", t: "\t", f: "\f", v: "\v" }));
const opened = ["(?:", "(?i:", "(?=", "(?!"] as const;
const syntax = new Set("()[]{}*+?|^$.");

/** What folds to an ASCII letter beside the letter in its two cases. */
const furtherCases = new Map(Object.entries({ s: "\u017f", k: "\u212a" }));
/** Pairs of letters that one character stands for where case is ignored: the eszett and the ligatures. */
const foldsOfOne = /^(?:ss|st|ff|fi|fl)$/;

/** Reads a rule from left to right, once. */
class Translation {
  readonly #rule: string;
  readonly #signs: readonly string[]; // code points
  #at = 0;
  #possessives = 0;

  constructor(rule: string) {
    this.#rule = rule;
    this.#signs = Array.from(rule);
  }

  whole(): string {
    const { source, least } = this.#alternatives(false);
    if (this.#at < this.#signs.length) throw this.#refusal("a bracket that was not opened");
    if (least === 0) throw this.#refusal("what can match no character", 0);
    return source;
  }

  #alternatives(ignoreCase: boolean): Part {
    const parts = [this.#sequence(ignoreCase)];
    while (this.#take("|")) parts.push(this.#sequence(ignoreCase));
    return { source: parts.map(({ source }) => source).join("|"), least: Math.min(...parts.map(({ least }) => least)) };
  }

  #sequence(ignoreCase: boolean): Part {
    let source = "";
    let least = 0;
    let before = "";
    while (this.#at < this.#signs.length && !this.#sees("|") && !this.#sees(")")) {
      const start = this.#at;
      let atom: Part;
      if (ignoreCase) {
        const letters = this.#foldedLetters();
        const pairs = Array.from(before).flatMap((left) => Array.from(letters, (right) => left + right));
        if (pairs.some((pair) => foldsOfOne.test(pair))) {
          throw this.#refusal("letters that are also one character where case is ignored", start);
        }
        before = letters;
        atom = { source: `[${Array.from(letters).flatMap(casesOf).map(spelled).join("")}]`, least: 1 };
      } else atom = this.#atom();
      const repeated = this.#quantified(atom, start);
      source += repeated.source;
      least += repeated.least;
    }
    return { source, least };
  }

  #atom(): Part {
    if (this.#sees("(")) return this.#group();
    if (this.#sees("[")) return { source: this.#characterClass(), least: 1 };
    if (this.#take(".")) return { source: String.raw`[^\n]`, least: 1 };
    const member = this.#member();
    return { source: "set" in member ? member.set : spelled(member.sign), least: 1 };
  }

  #group(): Part {
    const start = this.#at;
    const open = opened.find((one) => this.#rest().startsWith(one)) ?? "(";
    this.#at += open.length;
    if (open === "(" && this.#sees("?")) throw this.#refusal("a group of this kind", start);
    const inner = this.#alternatives(open === "(?i:");
    if (!this.#take(")")) throw this.#refusal("a bracket that is not closed", start);
    const looksAhead = open === "(?=" || open === "(?!";
    return { source: `${looksAhead ? open : "(?:"}${inner.source})`, least: looksAhead ? 0 : inner.least };
  }

  #characterClass(): string {
    const start = this.#at;
    this.#take("[");
    let source = this.#take("^") ? "[^" : "[";
    if (this.#sees("]")) throw this.#refusal("an empty class", start);
    while (!this.#take("]")) {
      const from = this.#classMember(start);
      const isRange = this.#sees("-") && this.#signs[this.#at + 1] !== "]";
      if (isRange) this.#at += 1;
      const to = isRange ? this.#classMember(start) : from;
      if ("sign" in from && "sign" in to) {
        if ((from.sign.codePointAt(0) ?? 0) > (to.sign.codePointAt(0) ?? 0)) throw this.#refusal("a class", start);
        source += isRange ? `${spelled(from.sign)}-${spelled(to.sign)}` : spelled(from.sign);
      } else if (isRange || "sign" in from) throw this.#refusal("a range between classes", start);
      else source += from.set;
    }
    return `${source}]`;
  }

  #classMember(start: number): Member {
    if (this.#sees("\\")) return this.#member();
    const sign = this.#signs[this.#at];
    if (sign === undefined) throw this.#refusal("a class that is not closed", start);
    if (sign === "[" || sign === "&") throw this.#refusal("a class of classes", start);
    this.#at += 1;
    return { sign };
  }

  /** One character, or those of a class without ranges, in lower case. */
  #foldedLetters(): string {
    const start = this.#at;
    let letters = "";
    const isClass = this.#take("[");
    do {
      const member = isClass ? this.#classMember(start) : this.#member();
      if (!("sign" in member) || /[^\p{ASCII}]|[\^-]/u.test(member.sign)) {
        throw this.#refusal("other than single characters of ASCII where case is ignored", start);
      }
      letters += member.sign.toLowerCase();
    } while (isClass && !this.#take("]"));
    return letters;
  }

  /** A character outside of a class, or an escape anywhere. */
  #member(): Member {
    const start = this.#at;
    if (!this.#take("\\")) {
      const sign = this.#signs[this.#at] ?? "";
      if (syntax.has(sign)) throw this.#refusal(`"${sign}" here`);
      this.#at += 1;
      return { sign };
    }
    const sign = this.#signs[this.#at] ?? "";
    this.#at += 1;
    if (sign === "s") return { set: String.raw`\p{White_Space}` };
    if (sign === "S") return { set: String.raw`\P{White_Space}` };
    if (sign === "d") return { set: classOf("Nd", false) };
    if (sign === "D") return { set: classOf("Nd", true) };
    if (sign === "p" || sign === "P") {
      const name = /^\{(\w+)\}/.exec(this.#rest())?.[1] ?? "";
      if (!categories.has(name)) throw this.#refusal("a class of characters", start);
      this.#at += name.length + 2;
      return { set: classOf(name, sign === "P") };
    }
    const literal = /[!-/:-@[-`{-~]/.test(sign) ? sign : controlEscapes.get(sign);
    if (literal === undefined) throw this.#refusal("an escape", start);
    return { sign: literal };
  }

  #quantified(atom: Part, start: number): Part {
    const found = /^(?:[*+?]|\{(\d+)(?:(,)(\d*))?\})/.exec(this.#rest());
    if (!found) return atom;
    const [sign, from, comma, to] = found;
    if (atom.least === 0) throw this.#refusal("a repetition of what can match no character", start);
    if (to && Number(from) > Number(to)) throw this.#refusal("a repetition", start);
    this.#at += sign.length;
    const counted = from === undefined ? (sign === "+" ? 1 : 0) : Number(from);
    const least = atom.least * counted;
    const isSimple = comma === undefined && from === undefined;
    const lazy = isSimple && this.#take("?") ? "?" : "";
    const isPossessive = isSimple && lazy === "" && this.#take("+");
    if (/^[*+?{]/.test(this.#rest())) throw this.#refusal("a repetition of a repetition", start);
    const source = `${atom.source}${sign}${lazy}`;
    if (!isPossessive) return { source, least };
    // What a lookahead has matched is not tried again in another way.
    const name = `p${this.#possessives++}`;
    return { source: `(?=(?<${name}>${source}))\\k<${name}>`, least };
  }

  #rest(): string {
    return this.#signs.slice(this.#at).join("");
  }

  #sees(sign: string): boolean {
    return this.#signs[this.#at] === sign;
  }

  #take(sign: string): boolean {
    const found = this.#sees(sign);
    if (found) this.#at += 1;
    return found;
  }

  #refusal(what: string, at = this.#at): VlRewardError {
    const excerpt = this.#signs.slice(at, at + 16).join("");
    const message =
      `the split rule ${JSON.stringify(this.#rule)} has ${what}, which is not supported ` +
      `(at ${excerpt === "" ? "its end" : JSON.stringify(excerpt)})`;
    return new VlRewardError("config_invalid", message);
  }
}

/** A general category as of Unicode 16. Only one letter of those that Unicode 16 has became another kind of letter. */
function classOf(category: string, isNegated: boolean): string {
  const newer = String.raw`\p{${category}}`;
  let set = `[${newer}--${youngCharacters}]`;
  if (category === "Ll") set = `[${set}${becameOtherLetter}]`;
  if (category === "Lo") set = `[${set}--${becameOtherLetter}]`;
  return isNegated ? `[^${set}]` : set;
}

function casesOf(letter: string): string[] {
  return [letter, letter.toUpperCase(), furtherCases.get(letter) ?? letter];
}

/** So that no character means anything but itself. */
function spelled(sign: string): string {
  return /[A-Za-z0-9]/.test(sign) ? sign : `\\u{${(sign.codePointAt(0) ?? 0).toString(16)}}`;
}

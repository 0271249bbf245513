/**
 * @file Runs a parsed Jinja template with a limit on its work and on the size of what it makes. A template comes with a
 * checkpoint: one that loops, or doubles a list until V8 gives up, would take the process with it.
 *
 * Work is counted in steps: one for each node that is evaluated, and what goes through a list or a text by its length. What
 * the library would build in one go (a range, a replacement, a list as text) is measured before it is built.
 */
import { Environment, Interpreter } from "@huggingface/jinja";
import { VlRewardError } from "../errors.ts";

// What the library's own declarations say, which are lost to importers of ES modules.
interface Statement {
  readonly type: string;
}
interface Value {
  readonly type: string;
  readonly value: unknown;
}
interface Scope {
  set(name: string, value: unknown): unknown;
}
interface LibraryInterpreter {
  run(program: unknown): Value;
  evaluate(statement: Statement | undefined, scope: Scope): Value;
}
const NewScope: new () => Scope = Environment;
const Library: new (scope: Scope) => LibraryInterpreter = Interpreter;

/** Some tens of steps for each turn are usual. A step takes about a microsecond. */
const leastSteps = 3e5;
const stepsOfTurn = 2_000;
/** Characters, or entries of lists, that one value may have; of text that goes in, a template may print several copies. */
const leastSize = 2 ** 23;
const copies = 8;

/** What a template is run on, as far as it decides how much may come of it. */
export interface TemplateInput {
  readonly turns: number;
  readonly characters: number;
}

/** @throws VlRewardError `config_invalid` beyond the limits; what the template raises itself */
export function runBounded(
  program: unknown,
  variables: Readonly<Record<string, unknown>>,
  { turns, characters }: TemplateInput,
): string {
  const maxSize = leastSize + copies * characters;
  const scope = globals(maxSize);
  for (const [name, value] of Object.entries(variables)) scope.set(name, value);
  const steps = leastSteps + stepsOfTurn * turns + characters;
  return String(new BoundedInterpreter(scope, { steps, size: maxSize }).run(program).value);
}

/** The library's own, with a range that is bounded. Today's date is no part of them (jinja.ts). */
function globals(maxSize: number): Scope {
  const scope = new NewScope();
  const values: Record<string, unknown> = {
    ...{ true: true, True: true, false: false, False: false, none: null, None: null },
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
    range: (first: number, last?: number, step = 1) => {
      const [start, stop] = last === undefined ? [0, first] : [first, last];
      const length = Math.max(0, Math.ceil((stop - start) / step));
      if (!(length <= maxSize)) throw tooLarge();
      return Array.from({ length }, (_, index) => start + index * step);
    },
  };
  for (const [name, value] of Object.entries(values)) scope.set(name, value);
  return scope;
}

class BoundedInterpreter extends Library {
  readonly #maxSize: number;
  #stepsLeft: number;
  /** Of lists and objects, which never change: the size of each as text, at least. */
  readonly #sizes = new WeakMap<object, number>();
  /** What stands for a node that has been evaluated already. */
  readonly #done = new WeakMap<Statement, Value>();

  constructor(scope: Scope, { steps, size }: { steps: number; size: number }) {
    super(scope);
    this.#stepsLeft = steps;
    this.#maxSize = size;
  }

  override evaluate(statement: Statement | undefined, scope: Scope): Value {
    const done = statement && this.#done.get(statement);
    if (done) return done;
    this.#take(1);
    const value = super.evaluate(statement && this.#measured(statement, scope), scope);
    const size = this.#sizeOf(value);
    if (typeof value.value === "string") this.#take(size / 256);
    if (size > this.#maxSize) throw tooLarge();
    return value;
  }

  /** The node, with what it goes through evaluated, counted and, where it makes more of it, bounded. */
  #measured(statement: Statement, scope: Scope): Statement | Node {
    const settle = (node: unknown): { node: unknown; value: Value | undefined } => {
      if (!isNode(node)) return { node, value: undefined };
      const value = this.evaluate(node, scope);
      return { node: this.#standIn(value), value };
    };
    if (isNode(statement, "For")) {
      const { iterable } = statement;
      const selects = isNode(iterable, "SelectExpression"); // `for x in xs if x`
      const { node, value } = settle(selects ? iterable.lhs : iterable);
      this.#take(lengthOf(value));
      return { ...statement, iterable: selects ? { ...iterable, lhs: node } : node };
    }
    if (isNode(statement, "FilterStatement")) {
      const { node } = settle({ type: "Program", body: statement.body });
      const filtered: Node = { ...statement, type: "FilterExpression", operand: node };
      return this.#measured(filtered, scope);
    }
    if (
      isNode(statement, "BinaryExpression") &&
      isNode(statement.operator) &&
      /in$/.test(String(statement.operator.value))
    ) {
      const { node, value } = settle(statement.right);
      this.#take(lengthOf(value));
      return { ...statement, right: node };
    }
    if (isNode(statement, "FilterExpression")) {
      const { node, value } = settle(statement.operand);
      this.#take(4 * lengthOf(value)); // it may sort
      const { filter } = statement;
      if (!isNode(filter, "CallExpression")) return { ...statement, operand: node };
      const args = this.#settledArguments(filter.args, scope);
      this.#assertBounded(isNode(filter.callee) ? filter.callee.value : undefined, value, args.values);
      return { ...statement, operand: node, filter: { ...filter, args: args.nodes } };
    }
    if (isNode(statement, "CallExpression") && isNode(statement.callee, "MemberExpression")) {
      const { callee } = statement;
      const { node, value } = settle(callee.object);
      const args = this.#settledArguments(statement.args, scope);
      const name = !callee.computed && isNode(callee.property) ? callee.property.value : undefined;
      this.#assertBounded(name, value, args.values);
      return { ...statement, callee: { ...callee, object: node }, args: args.nodes };
    }
    return statement;
  }

  #settledArguments(args: unknown, scope: Scope): { nodes: unknown[]; values: Value[] } {
    const values: Value[] = [];
    const settle = (node: Statement): Statement => {
      const value = this.evaluate(node, scope);
      values.push(value);
      return this.#standIn(value);
    };
    const nodes = (Array.isArray(args) ? args : []).map((node: unknown) => {
      if (!isNode(node) || /Spread/.test(node.type)) return node;
      if (node.type === "KeywordArgumentExpression" && isNode(node.value))
        return { ...node, value: settle(node.value) };
      return settle(node);
    });
    return { nodes, values };
  }

  #standIn(value: Value): Statement {
    const node: Statement = { type: "Evaluated" };
    this.#done.set(node, value);
    return node;
  }

  /** Before a method or filter makes a text that is larger than what it is made of together. */
  #assertBounded(name: unknown, operand: Value | undefined, args: readonly Value[]): void {
    const numbers = args.map(({ value }) => (typeof value === "number" ? value : 0));
    const texts = args.map(({ value }) => (typeof value === "string" ? value.length : 0));
    const size = operand ? this.#sizeOf(operand) : 0;
    let made = 0;
    if (name === "join") made = size + lengthOf(operand) * Math.max(0, ...texts);
    if (name === "indent") made = size + linesOf(operand) * Math.max(0, ...numbers);
    if (name === "map") made = size * (1 + Math.max(0, ...numbers) + Math.max(0, ...texts.slice(1)));
    if (name === "tojson") made = size * (1 + Math.max(0, ...numbers));
    if (name === "replace") made = size + occurrences(operand, args[0]) * Math.max(0, ...texts.slice(1));
    if (made > this.#maxSize) throw tooLarge();
  }

  #take(steps: number): void {
    this.#stepsLeft -= steps;
    if (this.#stepsLeft >= 0) return;
    throw new VlRewardError(
      "config_invalid",
      "the chat template does not come to an end within the steps that a conversation of this size may take: expected one " +
        "that prints each turn once",
    );
  }

  #sizeOf({ type, value }: Value): number {
    if (typeof value === "string") return value.length;
    if (typeof value !== "object" || value === null) return 8;
    const known = this.#sizes.get(value);
    if (known !== undefined) return known;
    let size = 2;
    const parts: Value[] = value instanceof Map ? [...value.values()] : Array.isArray(value) ? value : [];
    this.#take(parts.length);
    for (const part of parts) {
      size += 2 + this.#sizeOf(part);
      if (size > this.#maxSize) throw tooLarge();
    }
    if (type !== "NamespaceValue") this.#sizes.set(value, size); // the one thing that can be changed
    return size;
  }
}

const tooLarge = (): VlRewardError =>
  new VlRewardError(
    "config_invalid",
    "the chat template makes more text of a conversation than several copies of it: expected one that prints each turn once",
  );

interface Node extends Statement {
  readonly [property: string]: unknown;
}

function isNode(value: unknown, type?: string): value is Node {
  if (typeof value !== "object" || value === null || !("type" in value) || typeof value.type !== "string") return false;
  return type === undefined || value.type === type;
}

function lengthOf(value: Value | undefined): number {
  if (value?.value instanceof Map) return value.value.size;
  return Array.isArray(value?.value) ? value.value.length : 0;
}

const linesOf = (value: Value | undefined): number =>
  typeof value?.value === "string" ? value.value.split("\n").length : 0;

function occurrences(text: Value | undefined, part: Value | undefined): number {
  if (typeof text?.value !== "string" || typeof part?.value !== "string") return 0;
  if (part.value === "") return text.value.length + 1;
  let count = 0;
  for (let at = text.value.indexOf(part.value); at >= 0; at = text.value.indexOf(part.value, at + part.value.length))
    count++;
  return count;
}

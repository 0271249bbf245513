/** @file A module: a tree of parameters whose property names, in snake_case, are the names in a checkpoint. */
import { Parameter } from "./parameter.ts";

export abstract class Module {
  /** Every parameter with its name, e.g. "layers.0.self_attn.q_proj.weight". */
  *namedParameters(prefix = ""): Generator<[name: string, parameter: Parameter]> {
    for (const [key, value] of Object.entries(this)) yield* parametersIn(value, prefix + snakeCase(key));
  }

  /** Every module below this one with its name, e.g. "layers.0.self_attn.q_proj". */
  *namedModules(prefix = ""): Generator<[name: string, module: Module]> {
    for (const [key, value] of Object.entries(this)) yield* modulesIn(value, prefix + snakeCase(key));
  }

  /** Frees every parameter. */
  dispose(): void {
    for (const [, parameter] of this.namedParameters()) parameter.dispose();
  }
}

function* parametersIn(value: unknown, name: string): Generator<[string, Parameter]> {
  if (value instanceof Parameter) yield [name, value];
  else if (value instanceof Module) yield* value.namedParameters(`${name}.`);
  else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) yield* parametersIn(item, `${name}.${index}`);
  }
}

function* modulesIn(value: unknown, name: string): Generator<[string, Module]> {
  if (value instanceof Module) {
    yield [name, value];
    yield* value.namedModules(`${name}.`);
  } else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) yield* modulesIn(item, `${name}.${index}`);
  }
}

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

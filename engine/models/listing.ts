/** Names and shapes of what a part is made of, found by building its graph with a builder that only takes notes. */
import { Graph, reachable, type Shape, type Value } from '../graph/ir.js';
import { portInputs } from './builders.js';
import type { Builder, Part, StoredForm } from './model.js';

/**
 * One linear layer of a part. `norm` names the norm whose output it reads directly, where that can be folded: only a norm
 * whose every reader is a linear layer can be changed and those layers make up for it.
 */
export interface LinearEntry {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  readonly bias: boolean;
  /** The first layer that reads the same input; layers that share an input share its quantizer. */
  readonly input: string;
  readonly norm: string | undefined;
}

export interface NormEntry {
  readonly name: string;
  readonly features: number;
  readonly bias: boolean;
  /** Whether linear layers, and nothing else, read its output. */
  readonly foldable: boolean;
}

export interface ParameterEntry extends StoredForm {
  readonly name: string;
  readonly shape: Shape;
  /** The shape it has in the checkpoint. */
  readonly storedShape: Shape;
}

export interface PartListing {
  readonly linears: readonly LinearEntry[];
  /** LayerNorms and RMSNorms, which have no bias; not those without parameters. */
  readonly norms: readonly NormEntry[];
  readonly operands: readonly string[];
  /** The layer that each operand is made of, norms and positions apart; missing where there is more than one. */
  readonly producers: ReadonlyMap<string, string>;
  /** Everything to be read from the checkpoint, linear weights and biases and norms included. */
  readonly parameters: readonly ParameterEntry[];
}

export function listPart(part: Part): PartListing {
  const graph = new Graph();
  const linears: LinearEntry[] = [];
  const norms: Omit<NormEntry, 'foldable'>[] = [];
  const operands: string[] = [];
  const producers = new Map<string, string>();
  /** What stands for the output of a layer or a norm, and the one layer it comes from. */
  const origins = new Map<Value, string | undefined>();
  const parameters: ParameterEntry[] = [];
  const readers = new Map<Value, string>();
  const normOutputs = new Map<Value, string>();
  /** What anything but a linear layer reads, as far as it is not a node of the graph. */
  const otherwiseRead = new Set<Value>();

  const declare = (name: string, shape: Shape, stored: StoredForm = {}) => {
    const { storedShape = stored.transposed ? [...shape].reverse() : shape } = stored;
    parameters.push({ name, shape, ...stored, storedShape });
    return graph.input(name, shape);
  };
  const norm = (
    name: string,
    x: Value,
    { affine = true, bias, ...stored }: { affine?: boolean; bias: boolean; offset?: number },
  ) => {
    otherwiseRead.add(x);
    const features = x.shape.at(-1)!;
    const y = graph.input(`${name}()`, x.shape);
    origins.set(y, originOf(x, origins));
    if (!affine) return y;
    norms.push({ name, features, bias });
    declare(`${name}.weight`, [features], stored);
    if (bias) declare(`${name}.bias`, [features]);
    normOutputs.set(y, name);
    return y;
  };
  const builder: Builder = {
    linear: (name, x, out, { bias = true, ...stored } = {}) => {
      const features = x.shape[1]!;
      if (!readers.has(x)) readers.set(x, name);
      linears.push({ name, in: features, out, bias, input: readers.get(x)!, norm: normOutputs.get(x) });
      declare(`${name}.weight`, [out, features], stored);
      if (bias) declare(`${name}.bias`, [out]);
      const y = graph.input(`${name}()`, [x.shape[0]!, out]);
      origins.set(y, name);
      return y;
    },
    layerNorm: (name, x, _epsilon, options) => norm(name, x, { bias: true, ...options }),
    rmsNorm: (name, x, _epsilon, stored) => norm(name, x, { ...stored, bias: false }),
    embedding: (name, ids, rows, features) => {
      declare(`${name}.weight`, [rows, features]);
      return graph.input(`${name}()`, [...ids.shape, features]);
    },
    operand: (name, x) => {
      operands.push(name);
      otherwiseRead.add(x);
      const producer = originOf(x, origins);
      if (producer !== undefined) producers.set(name, producer);
      return x;
    },
    parameter: (name, shape, stored) => declare(name, shape, stored),
  };
  const { x, side } = portInputs(graph, part, 1);
  // What comes from outside is made by no layer of the part.
  for (const value of [x, ...Object.values(side)]) origins.set(value, undefined);
  const y = part.forward(builder, x, 1, side);
  requireShape(part, y);
  otherwiseRead.add(y);
  for (const node of graph.nodes) for (const input of node.inputs) if (input) otherwiseRead.add(input);
  const fixed = new Set(
    [...normOutputs].filter(([output]) => otherwiseRead.has(output)).map(([, name]) => name),
  );
  return {
    linears: linears.map((linear) =>
      linear.norm !== undefined && fixed.has(linear.norm) ? { ...linear, norm: undefined } : linear,
    ),
    norms: norms.map((entry) => ({ ...entry, foldable: !fixed.has(entry.name) })),
    operands,
    producers,
    parameters,
  };
}

/** Stores are sized by what a part says of its output. */
function requireShape(part: Part, { shape }: Value): void {
  const said = part.outputShape(1);
  if (said.join() !== shape.join())
    throw new Error(
      `${part.prefix} (${part.kind}) says its output is [${said.join()}]; its graph yields [${shape.join()}].`,
    );
}

/** The one layer that a value comes from, where it is one: constants and parameters count for nothing, the part's input for another. */
function originOf(x: Value, origins: ReadonlyMap<Value, string | undefined>): string | undefined {
  const sources = new Set<string | undefined>();
  const visit = (value: Value) => {
    if (origins.has(value)) sources.add(origins.get(value));
  };
  visit(x);
  for (const node of reachable([x])) for (const value of node.inputs) if (value) visit(value);
  return sources.size === 1 ? [...sources][0] : undefined;
}

/** Layers that read the same input, in the order they run. */
export function byInput(linears: readonly LinearEntry[]): (readonly [LinearEntry, ...LinearEntry[]])[] {
  const groups = new Map<string, [LinearEntry, ...LinearEntry[]]>();
  for (const linear of linears) {
    const known = groups.get(linear.input);
    if (known) known.push(linear);
    else groups.set(linear.input, [linear]);
  }
  return [...groups.values()];
}

/** The full name of the tensor in the checkpoint that holds a parameter of the part. */
export const storedName = (part: Part, entry: ParameterEntry): string =>
  entry.storedName ?? part.prefix + entry.name;

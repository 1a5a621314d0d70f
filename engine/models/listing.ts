/** Names and shapes of what a part is made of, found by building its graph with a builder that only takes notes. */
import { Graph, type Shape, type Value } from '../graph/ir.js';
import type { Builder, Part } from './model.js';

/** One linear layer of a part. `norm` names the norm whose output it reads directly, where there is one. */
export interface LinearEntry {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  readonly bias: boolean;
  /** The first layer that reads the same input; layers that share an input share its quantizer. */
  readonly input: string;
  readonly norm: string | undefined;
}

export interface ParameterEntry {
  readonly name: string;
  readonly shape: Shape;
  /** The shape it has in the checkpoint. */
  readonly storedShape: Shape;
}

export interface PartListing {
  readonly linears: readonly LinearEntry[];
  readonly norms: readonly { readonly name: string; readonly width: number }[];
  readonly operands: readonly string[];
  /** Everything to be read from the checkpoint, linear weights and biases and norms included. */
  readonly parameters: readonly ParameterEntry[];
}

export function listPart(part: Part): PartListing {
  const graph = new Graph();
  const linears: LinearEntry[] = [];
  const norms: { name: string; width: number }[] = [];
  const operands: string[] = [];
  const parameters: ParameterEntry[] = [];
  const readers = new Map<Value, string>();
  const normOutputs = new Map<Value, string>();

  const declare = (name: string, shape: Shape, storedShape = shape) => {
    parameters.push({ name, shape, storedShape });
    return graph.input(name, shape);
  };
  const builder: Builder = {
    linear: (name, x, out, { bias = true, storedShape } = {}) => {
      const width = x.shape[1]!;
      if (!readers.has(x)) readers.set(x, name);
      linears.push({ name, in: width, out, bias, input: readers.get(x)!, norm: normOutputs.get(x) });
      declare(`${name}.weight`, [out, width], storedShape);
      if (bias) declare(`${name}.bias`, [out]);
      return graph.input(`${name}()`, [x.shape[0]!, out]);
    },
    layerNorm: (name, x) => {
      const width = x.shape.at(-1)!;
      norms.push({ name, width });
      declare(`${name}.weight`, [width]);
      declare(`${name}.bias`, [width]);
      const y = graph.input(`${name}()`, x.shape);
      normOutputs.set(y, name);
      return y;
    },
    operand: (name, x) => {
      operands.push(name);
      return x;
    },
    parameter: (name, shape) => declare(name, shape),
  };
  part.forward(builder, graph.input('x', part.inputShape(1)), 1);
  return { linears, norms, operands, parameters };
}

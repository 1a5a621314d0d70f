/** The full-precision builder, and the arithmetic that every builder shares. */
import type { Graph, Shape, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Builder, Part } from './model.js';

/** Finds or declares the graph input that holds a parameter. */
export function parameterInputs(graph: Graph): (name: string, shape: Shape) => Value {
  return (name, shape) => graph.inputs.get(name) ?? graph.input(name, shape);
}

/** Shapes of what a part is fed, by the names of graph inputs; those that are missing are as the part says. */
export type PortShapes = Readonly<Record<string, Shape>>;

/** What the graph input for a side port is called. */
export const sideInput = (port: string): string => `side.${port}`;

/** Declares what a part is fed: graph inputs `x` and `side.<name>` for each side port, with a suffix to their names. */
export function portInputs(
  graph: Graph,
  part: Part,
  batch: number,
  shapes: PortShapes = {},
  suffix = '',
): { readonly x: Value; readonly side: Readonly<Record<string, Value>> } {
  const x = graph.input(`x${suffix}`, shapes.x ?? part.inputShape(batch), part.inputType);
  const side: Record<string, Value> = {};
  for (const { name, shape, type } of part.side ?? [])
    side[name] = graph.input(sideInput(name) + suffix, shapes[sideInput(name)] ?? shape(batch), type);
  return { x, side };
}

/** Builds a part on graph inputs as `portInputs` declares them; returns its output. */
export function buildPart(
  graph: Graph,
  part: Part,
  builder: Builder,
  batch: number,
  shapes?: PortShapes,
): Value {
  const { x, side } = portInputs(graph, part, batch, shapes);
  return part.forward(builder, x, batch, side);
}

/** Builds a part as the checkpoint has it; parameters become graph inputs, by default under their local names. */
export function fullPrecision(graph: Graph, parameter = parameterInputs(graph)): Builder {
  return {
    linear: (name, x, out, { bias = true } = {}) => {
      const weight = parameter(`${name}.weight`, [out, x.shape[1]!]);
      return op.gemm(x, weight, { transB: true, ...(bias && { c: parameter(`${name}.bias`, [out]) }) });
    },
    layerNorm: (name, x, epsilon, { affine = true, bias = true } = {}) => {
      const features = x.shape.at(-1)!;
      const of = (kind: string, value: number, isLearned: boolean) =>
        isLearned
          ? parameter(`${name}.${kind}`, [features])
          : graph.constant(new Float32Array(features).fill(value), [features]);
      return op.layerNormalization(x, of('weight', 1, affine), of('bias', 0, affine && bias), epsilon);
    },
    rmsNorm: (name, x, epsilon) => {
      const meanSquare = op.reduceMean(op.mul(x, x), [-1]);
      const rate = op.reciprocal(op.sqrt(op.add(meanSquare, graph.scalar(epsilon))));
      return op.mul(op.mul(x, rate), parameter(`${name}.weight`, [x.shape.at(-1)!]));
    },
    embedding: (name, ids, rows, features) => op.gather(parameter(`${name}.weight`, [rows, features]), ids),
    operand: (_name, x) => x,
    parameter,
  };
}

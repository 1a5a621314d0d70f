/** The full-precision builder, and the arithmetic that every builder shares. */
import type { Graph, Shape, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Builder } from './model.js';

/** Finds or declares the graph input that holds a parameter. */
export function parameterInputs(graph: Graph): (name: string, shape: Shape) => Value {
  return (name, shape) => graph.inputs.get(name) ?? graph.input(name, shape);
}

/** Builds a part as the checkpoint has it; parameters become graph inputs under their local names. */
export function fullPrecision(graph: Graph): Builder {
  const parameter = parameterInputs(graph);
  return {
    linear: (name, x, out, { bias = true } = {}) => {
      const weight = parameter(`${name}.weight`, [out, x.shape[1]!]);
      return op.gemm(x, weight, { transB: true, ...(bias && { c: parameter(`${name}.bias`, [out]) }) });
    },
    layerNorm: (name, x, epsilon, { affine = true } = {}) => {
      const width = x.shape.at(-1)!;
      const of = (kind: string, value: number) =>
        affine
          ? parameter(`${name}.${kind}`, [width])
          : graph.constant(new Float32Array(width).fill(value), [width]);
      return op.layerNormalization(x, of('weight', 1), of('bias', 0), epsilon);
    },
    rmsNorm: (name, x, epsilon) => {
      const meanSquare = op.reduceMean(op.mul(x, x), [-1]);
      const rate = op.reciprocal(op.sqrt(op.add(meanSquare, graph.scalar(epsilon))));
      return op.mul(op.mul(x, rate), parameter(`${name}.weight`, [x.shape.at(-1)!]));
    },
    embedding: (name, ids, rows, width) => op.gather(parameter(`${name}.weight`, [rows, width]), ids),
    operand: (_name, x) => x,
    parameter,
  };
}

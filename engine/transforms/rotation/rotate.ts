/** Turning an axis of a tensor by a Hadamard rotation, as graph operators: factor after factor, n log n and not n². */
import { sizeOf, type Graph, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { lazyConstant } from '../../models/constants.js';
import { hadamardFactors, hadamardMatrix } from './hadamard.js';

/**
 * x·R along an axis, with R = diag(signs)·H/√size orthogonal and H a Hadamard matrix (QuaRot, Ashkboos et al. 2024, section
 * 3). An axis longer than `size` is turned in groups of it.
 * @param signs [size], entries ±1; absent: all 1
 */
export function rotate(x: Value, axis: number, size: number, signs?: Value): Value {
  const [before, length] = [sizeOf(x.shape.slice(0, axis)), x.shape[axis]!];
  const after = sizeOf(x.shape.slice(axis + 1));
  const factors = hadamardFactors(size);
  if (!factors || length % size !== 0) throw new Error(`An axis of ${length} cannot be turned by ${size}.`);
  const groups = before * (length / size);
  const signed = signs ? op.mul(op.reshape(x, [groups, size, after]), op.reshape(signs, [1, size, 1])) : x;
  let turned = signed;
  let [left, right] = [groups, size * after];
  for (const order of factors) {
    right /= order;
    const matrix = transposed(order)(x.graph);
    turned =
      right === 1
        ? op.gemm(op.reshape(turned, [left, order]), matrix, { transB: true })
        : op.matMul(matrix, op.reshape(turned, [left, order, right]));
    left *= order;
  }
  return op.reshape(turned, x.shape);
}

/** Hᵀ/√order by order, in each graph once. */
const constants = new Map<number, (graph: Graph) => Value>();
function transposed(order: number): (graph: Graph) => Value {
  const known = constants.get(order);
  if (known) return known;
  const made = lazyConstant([order, order], () => {
    const matrix = hadamardMatrix(order);
    return Float32Array.from(
      matrix,
      (_, i) => matrix[(i % order) * order + Math.floor(i / order)]! / Math.sqrt(order),
    );
  });
  constants.set(order, made);
  return made;
}

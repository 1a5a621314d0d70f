/** The arithmetic of a graph. */
import { reachable, sizeOf, type Graph } from './ir.js';

/**
 * Floating-point operations of the matrix products that the graph's outputs depend on: 2·m·n·k for each MatMul (times
 * its batch) and Gemm. Element-wise work and reductions are not counted.
 */
export function matrixFlops(graph: Graph): number {
  let total = 0;
  for (const node of reachable(graph.outputs.values())) {
    const [a] = node.inputs;
    const y = sizeOf(node.outputs[0]!.shape);
    if (node.op === 'MatMul') total += 2 * y * a!.shape.at(-1)!;
    if (node.op === 'Gemm') total += 2 * y * a!.shape[node.attributes.transA === 1 ? 0 : 1]!;
  }
  return total;
}

/** What running a graph takes: arithmetic, element-wise work and memory, counted without running it. */
import { reachable, sizeOf, STOP_GRADIENT, type Graph, type Node, type Value } from './ir.js';
import type { Operator } from './operators.js';

export interface Work {
  /** Floating-point operations of matrix products (`matrixFlops`). */
  readonly flops: number;
  /** Elements that all other operators compute; those that only rename a tensor compute none. */
  readonly elements: number;
  /** How many operators are run. */
  readonly operators: number;
}

export const timesWork = ({ flops, elements, operators }: Work, n: number): Work => ({
  flops: n * flops,
  elements: n * elements,
  operators: n * operators,
});

export const addWork = (a: Work, b: Work): Work => ({
  flops: a.flops + b.flops,
  elements: a.elements + b.elements,
  operators: a.operators + b.operators,
});

/**
 * Floating-point operations of the matrix products that the graph's outputs depend on: 2·m·n·k for each MatMul (times
 * its batch) and Gemm. Element-wise work and reductions are not counted.
 */
export function matrixFlops(graph: Graph): number {
  return reachable(graph.outputs.values()).reduce((total, node) => total + flopsOf(node), 0);
}

/** Everything that one run of the graph's outputs takes. */
export function workOf(graph: Graph): Work {
  const nodes = reachable(graph.outputs.values()).filter((node) => !RENAMES.has(node.op));
  const isProduct = (node: Node) => node.op === 'MatMul' || node.op === 'Gemm';
  const elements = nodes
    .filter((node) => !isProduct(node))
    // A reduction reads more than it writes.
    .map((node) => Math.max(...[...node.inputs, ...node.outputs].map((v) => (v ? sizeOf(v.shape) : 0))));
  return {
    flops: matrixFlops(graph),
    elements: elements.reduce((a, b) => a + b, 0),
    operators: nodes.length,
  };
}

/** Operators whose output is their input's memory under another shape, or nothing at all. */
const RENAMES = new Set<Operator>(['Reshape', STOP_GRADIENT]);

function flopsOf(node: Node): number {
  const [a] = node.inputs;
  const y = sizeOf(node.outputs[0]!.shape);
  if (node.op === 'MatMul') return 2 * y * a!.shape.at(-1)!;
  if (node.op === 'Gemm') return 2 * y * a!.shape[node.attributes.transA === 1 ? 0 : 1]!;
  return 0;
}

/**
 * The most bytes of computed tensors that are alive at once when the nodes run in the order of construction and each
 * tensor goes after its last use; outputs stay. Inputs and constants are not counted.
 */
export function peakBytes(graph: Graph): number {
  const nodes = reachable(graph.outputs.values());
  const kept = new Set(graph.outputs.values());
  const lastUse = new Map<Value, number>();
  nodes.forEach((node, i) => {
    for (const value of [...node.outputs, ...node.inputs]) if (value?.node) lastUse.set(value, i);
  });
  const ending = nodes.map((): Value[] => []);
  for (const [value, i] of lastUse) if (!kept.has(value)) ending[i]!.push(value);
  let [alive, peak] = [0, 0];
  nodes.forEach((node, i) => {
    if (!RENAMES.has(node.op)) for (const value of node.outputs) alive += bytesOf(value);
    peak = Math.max(peak, alive);
    for (const value of ending[i]!) if (!RENAMES.has(value.node!.op)) alive -= bytesOf(value);
  });
  return peak;
}

const BYTES = { float32: 4, int64: 8, int32: 4, bool: 1, uint8: 1, int8: 1 };
const bytesOf = ({ type, shape }: Value): number => BYTES[type] * sizeOf(shape);

/** Weights that make up for what a stream has lost: what a layer is rounded to where its inputs are quantized ones. */
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import { timesInverse } from './inverse.js';
import type { Factored } from './moment-factor.js';

/**
 * W' = W + C (H + λI)⁻¹ for the correlation C [out, in] between what the layer's output lacks and its quantized input:
 * the weight whose output from that input is nearest to the full-precision one, in the mean over tokens.
 * @param weight [out, in] @param factored of H + λI
 */
export async function correctedWeight(
  programs: Programs,
  weight: Float32Array,
  correlation: Float32Array,
  factored: Factored,
  signal: AbortSignal,
): Promise<Float32Array> {
  const rows = correlation.length / factored.order.length;
  const change = await timesInverse(programs, correlation, rows, factored, signal);
  return Float32Array.from(weight, (w, i) => w + change[i]!);
}

/**
 * A · B for A [rows, inner] and B [inner, columns]: of a weight with what is lost in the inputs that several layers share,
 * E[(x − x_q)ᵀ x_q], it makes the layer's own correlation.
 */
export async function product(
  programs: Programs,
  a: Float32Array,
  b: Float32Array,
  inner: number,
): Promise<Float32Array> {
  const { runtime } = programs;
  const [rows, columns] = [a.length / inner, b.length / inner];
  const program = await programs.getBuilt(productGraph, [rows, inner, columns], 'product', { keep: false });
  const outputs = await program.run({
    a: runtime.tensor(a, [rows, inner]),
    b: runtime.tensor(b, [inner, columns]),
  });
  return runtime.read(outputs.product!);
}

/** The same, into memory that is there: `into` [rows, columns]. */
export async function productInto(
  programs: Programs,
  a: Float32Array,
  b: Float32Array,
  inner: number,
  into: Float32Array,
): Promise<void> {
  const { runtime } = programs;
  const [rows, columns] = [a.length / inner, b.length / inner];
  const shape = [rows, inner, columns] as const;
  const program = await programs.getBuilt(productGraph, shape, `product ${shape.join('×')}`, { keep: false });
  const outputs = await program.run(
    { a: runtime.tensor(a, [rows, inner]), b: runtime.tensor(b, [inner, columns]) },
    { product: runtime.tensor(into, [rows, columns]) },
  );
  const found = await runtime.read(outputs.product!);
  if (found !== into) into.set(found);
}

/** `a` [rows, inner] · `b` [inner, columns] → `product`. */
function productGraph(rows: number, inner: number, columns: number): Graph {
  const graph = new Graph();
  graph.output('product', op.gemm(graph.input('a', [rows, inner]), graph.input('b', [inner, columns])));
  return graph;
}

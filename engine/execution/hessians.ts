/**
 * Second moments of what a layer reads, plain or weighted by what the model's loss makes of its output
 * (docs/METHOD.md, section 14; OAC: Edalati et al. 2025, GuidedQuant: Kim et al. 2025).
 */
import type { Shape, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { LayerGradient, LayerSums } from './reverse-sweep.js';
import { addMoment, tokenWeights } from './taps.js';

/**
 * - `sequence`: Σ GᵀG over samples, G = Σ δ xᵀ [out, in] the gradient of a sample's loss with respect to the weight;
 * - `token`: Σ |δ|² x xᵀ over tokens: without the products of different tokens;
 * - `l2`: Σ x xᵀ, which no loss has a part in.
 */
export type HessianKind = 'sequence' | 'token' | 'l2';

/**
 * Adds up Hessians [in, in] of every layer of a block, by the layer's local name, up to a factor that is one for all.
 * @param slices of `token`: that of a layer is [slices, in, in], one for each of its `rowSlices`
 */
export const hessianSums =
  (kind: HessianKind, slices = 1): LayerSums =>
  (graph, layers, { batch }) => {
    const sums = new Map<string, Shape>();
    for (const [name, layer] of layers) {
      const columns = layer.x.shape[1]!;
      const count = rowSlices(layer.delta.shape[1]!, slices).length;
      const shape = slices > 1 ? [count, columns, columns] : [columns, columns];
      const before = graph.input(`sum.${name}`, shape);
      graph.output(name, slices > 1 ? addSliced(layer, slices, before) : adders[kind](layer, batch, before));
      sums.set(name, shape);
    }
    return sums;
  };

type Adder = (layer: LayerGradient, batch: number, before: Value) => Value;

const adders: Readonly<Record<HessianKind, Adder>> = {
  l2: (layer, batch, before) =>
    addMoment(layer.x, tokenWeights(layer.x.graph, layer, batch, 'alike'), before),
  token: ({ x, delta }, _batch, before) => addMoment(x, squaredLength(delta), before),
  sequence: ({ x, delta }, batch, before) => {
    const [rows, columns] = x.shape as readonly [number, number];
    const [out, tokens] = [delta.shape[1]!, rows / batch];
    const samples = (v: Value) => op.reshape(v, [batch, tokens, v.shape[1]!]);
    const turned = (v: Value) => op.transpose(samples(v), [0, 2, 1]);
    const squared = 2 * out * columns * (tokens + columns);
    const through = 2 * tokens * (tokens * (out + columns) + columns * columns);
    if (through < squared) {
      // GᵀG = Xᵀ (ΔΔᵀ) X: cheaper where a sample has fewer tokens than the layer has rows.
      const mixed = op.matMul(op.matMul(samples(delta), turned(delta)), samples(x));
      return op.gemm(x, op.reshape(mixed, [rows, columns]), { transA: true, c: before });
    }
    const gradient = op.reshape(op.matMul(turned(delta), samples(x)), [batch * out, columns]);
    return op.gemm(gradient, gradient, { transA: true, c: before });
  },
};

/** How many rows each of at most so many slices of a layer's has; the last may have fewer than the others. */
export function rowSlices(out: number, slices: number): number[] {
  const each = Math.ceil(out / slices);
  return Array.from({ length: Math.ceil(out / each) }, (_, i) => Math.min(each, out - i * each));
}

/** [slices, in, in]: each slice of rows weighs tokens by its own part of the gradient (GuidedQuant). */
function addSliced({ x, delta }: LayerGradient, slices: number, before: Value): Value {
  const out = delta.shape[1]!;
  const lengths = rowSlices(out, slices);
  const moments = op.split(delta, lengths, 1).map((slice) => {
    const moment = op.gemm(op.mul(x, squaredLength(slice)), x, { transA: true });
    return op.reshape(moment, [1, ...moment.shape]);
  });
  return op.add(before, op.concat(moments, 0));
}

/** |δ|² of every token, [rows, 1]. */
export const squaredLength = (delta: Value) => op.reduceSum(op.mul(delta, delta), [1]);

/**
 * The learned state of one block (MB-CLoRA, method sections 2–3) and how it lies in a few flat tensors, so that one
 * optimizer subgraph serves all layers:
 *
 *   lora     [P]              every layer's A [R, in], then B [out, R]
 *   clip.g   [bits_g, K]      a row a bit-width of group g: every layer's upper, then lower clip logits
 *   scale.g  [bits_g, Q]      a row a bit-width of group g: every activation quantizer's scale
 */
import type { PartListing } from '../../models/listing.js';
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';

/** Bit-widths that share a rank; groups run from high to low precision. */
export interface BitGroup {
  readonly bits: readonly number[];
  /** How many of the adapter's directions the group uses: the first `rank`. */
  readonly rank: number;
}

export interface AdapterLayer {
  readonly name: string;
  readonly in: number;
  readonly out: number;
}

/** What the layout of a block's learned state depends on. */
export interface AdapterLayout {
  readonly groups: readonly BitGroup[];
  /** R, the rank of the last group. */
  readonly rank: number;
  readonly layers: readonly AdapterLayer[];
  /** Activation quantizers: the first layer reading each distinct input, then operands of products. */
  readonly quantizers: readonly string[];
}

export function adapterLayout(
  listing: PartListing,
  groups: readonly BitGroup[],
  activations: boolean,
  operands = true,
): AdapterLayout {
  const inputs = [...new Set(listing.linears.map((l) => l.input))];
  return {
    groups,
    rank: Math.max(...groups.map((g) => g.rank)),
    layers: listing.linears.map(({ name, in: columns, out }) => ({ name, in: columns, out })),
    quantizers: activations ? [...inputs, ...(operands ? listing.operands : [])] : [],
  };
}

/** P, K and Q of the table above. */
export const loraSize = (layout: AdapterLayout) =>
  layout.layers.reduce((n, l) => n + layout.rank * (l.in + l.out), 0);
export const clipSize = (layout: AdapterLayout) => layout.layers.reduce((n, l) => n + 2 * l.out, 0);

/**
 * A factor for each of the R directions, by the group that adds it: the size of its quantization steps against those at
 * 4 bits, at most 1. Adam moves every direction by its learning rate; what corrects finer steps has to move less.
 */
export function directionScales({ groups, rank }: AdapterLayout): Float32Array {
  const scales = new Float32Array(rank);
  groups.forEach(({ bits, rank: end }, g) => {
    const mean = bits.reduce((a, b) => a + b, 0) / bits.length;
    scales.fill(Math.min(1, 2 ** (4 - mean)), groups[g - 1]?.rank ?? 0, end);
  });
  return scales;
}

/** The pieces of a flat `lora`: per layer A [R, in], its rows multiplied by `scales` where given, and B [out, R]. */
export function splitLora(
  layout: AdapterLayout,
  lora: Value,
  scales?: Float32Array,
): Map<string, { a: Value; b: Value }> {
  const { rank, layers } = layout;
  const scaled = (a: Value) => (scales ? op.mul(a, lora.graph.constant(scales, [rank, 1])) : a);
  const parts = op.split(
    lora,
    layers.flatMap((l) => [rank * l.in, l.out * rank]),
    0,
  );
  return new Map(
    layers.map((l, i) => [
      l.name,
      { a: scaled(op.reshape(parts[2 * i]!, [rank, l.in])), b: op.reshape(parts[2 * i + 1]!, [l.out, rank]) },
    ]),
  );
}

/** The pieces of one row [1, K] of clip logits: per layer upper and lower [out, 1]. */
export function splitClip(layout: AdapterLayout, row: Value): Map<string, { upper: Value; lower: Value }> {
  const parts = op.split(
    row,
    layout.layers.flatMap((l) => [l.out, l.out]),
    1,
  );
  return new Map(
    layout.layers.map((l, i) => [
      l.name,
      { upper: op.reshape(parts[2 * i]!, [l.out, 1]), lower: op.reshape(parts[2 * i + 1]!, [l.out, 1]) },
    ]),
  );
}

/** The pieces of one row [1, Q]: per quantizer a value of shape [1, 1]. */
export function splitScale(layout: AdapterLayout, row: Value): Map<string, Value> {
  const parts = op.split(
    row,
    layout.quantizers.map(() => 1),
    1,
  );
  return new Map(layout.quantizers.map((name, i) => [name, parts[i]!]));
}

/**
 * W + B[:, :r] A[:r, :], the weight that is then quantized.
 * @param isolate first column whose gradient flows: directions before it are constants to the gradient
 */
export function adaptedWeight(
  weight: Value,
  adapter: { a: Value; b: Value },
  rank: number,
  isolate = 0,
): Value {
  if (rank === 0) return weight;
  const a = op.slice(adapter.a, 0, 0, rank);
  const b = op.slice(adapter.b, 1, 0, rank);
  if (isolate === 0) return op.gemm(b, a, { c: weight });
  const fixed = op.gemm(
    op.stopGradient(op.slice(adapter.b, 1, 0, isolate)),
    op.stopGradient(op.slice(adapter.a, 0, 0, isolate)),
    { c: weight },
  );
  return op.gemm(op.slice(adapter.b, 1, isolate, rank), op.slice(adapter.a, 0, isolate, rank), { c: fixed });
}

/**
 * The learned state of one block (MB-CLoRA, method sections 2–3) and how it lies in a few flat tensors, so that one
 * optimizer subgraph serves all layers:
 *
 *   lora     [P]              every layer's A [R, in], then B [out, R]
 *   clip.g   [bits_g, K]      one row per bit-width of group g: every layer's upper, then lower clip logits
 *   scale.g  [bits_g, Q]      one row per bit-width of group g: every activation quantizer's scale
 */
import type { PartListing } from '../../models/listing.js';
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Cache } from '../../execution/activations.js';
import { scaleRows } from '../../graph/quantizers.js';

/**
 * Bit-widths that share adapter directions. `rank` counts those the group uses: its own and all above. `gain` multiplies
 * their product: the group's weight is W + gain · B[:, :rank] A[:rank, :].
 */
export interface BitGroup {
  readonly bits: readonly number[];
  readonly rank: number;
  readonly gain: number;
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
  /** Per bit group, how many input columns share a weight scale; -1 for a whole row. */
  readonly groupSizes: readonly number[];
  /** Per bit group, whether zero points are halves; absent where they are whole. */
  readonly halves?: readonly boolean[];
  /** Whether inputs of layers, having no quantizers of their own, are quantized per token. */
  readonly tokens?: boolean;
  readonly cache?: Cache | undefined;
}

export function adapterLayout(
  listing: PartListing,
  groups: readonly BitGroup[],
  activations: boolean,
  operands = true,
  groupSizes: readonly number[] = groups.map(() => -1),
): AdapterLayout {
  const inputs = [...new Set(listing.linears.map((l) => l.input))];
  return {
    groups,
    rank: Math.max(...groups.map((g) => g.rank)),
    layers: listing.linears.map(({ name, in: columns, out }) => ({ name, in: columns, out })),
    quantizers: activations ? [...inputs, ...(operands ? listing.operands : [])] : [],
    groupSizes,
  };
}

/** P, K and Q of the table above. */
export const loraSize = (layout: AdapterLayout) =>
  layout.layers.reduce((n, l) => n + layout.rank * (l.in + l.out), 0);
export const clipSize = (layout: AdapterLayout, g: number) =>
  layout.layers.reduce((n, l) => n + 2 * scaleRows(l, layout.groupSizes[g]!), 0);

/** The pieces of a flat `lora`: per layer A [R, in] and B [out, R]. */
export function splitLora(layout: AdapterLayout, lora: Value): Map<string, { a: Value; b: Value }> {
  const { rank, layers } = layout;
  const parts = op.split(
    lora,
    layers.flatMap((l) => [rank * l.in, l.out * rank]),
    0,
  );
  return new Map(
    layers.map((l, i) => [
      l.name,
      { a: op.reshape(parts[2 * i]!, [rank, l.in]), b: op.reshape(parts[2 * i + 1]!, [l.out, rank]) },
    ]),
  );
}

/** The pieces of one row [1, K] of group g's clip logits: per layer upper and lower [rows, 1]. */
export function splitClip(
  layout: AdapterLayout,
  g: number,
  row: Value,
): Map<string, { upper: Value; lower: Value }> {
  const rows = layout.layers.map((l) => scaleRows(l, layout.groupSizes[g]!));
  const parts = op.split(
    row,
    rows.flatMap((n) => [n, n]),
    1,
  );
  return new Map(
    layout.layers.map((l, i) => [
      l.name,
      {
        upper: op.reshape(parts[2 * i]!, [rows[i]!, 1]),
        lower: op.reshape(parts[2 * i + 1]!, [rows[i]!, 1]),
      },
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
 * W + gain · B[:, :r] A[:r, :], the weight that is then quantized (docs/METHOD.md, section 2).
 * @param fixed so many directions at the beginning are constants to the gradient
 */
export function adaptedWeight(
  weight: Value,
  adapter: { a: Value; b: Value },
  { rank, gain }: Pick<BitGroup, 'rank' | 'gain'>,
  fixed = 0,
): Value {
  if (gain === 0) return weight;
  const plus = (sum: Value, from: number, to: number, use: (x: Value) => Value) => {
    if (from === to) return sum;
    const b = use(op.slice(adapter.b, 1, from, to));
    const scaled = gain === 1 ? b : op.mul(b, weight.graph.scalar(gain));
    return op.gemm(scaled, use(op.slice(adapter.a, 0, from, to)), { c: sum });
  };
  return plus(plus(weight, 0, fixed, op.stopGradient), fixed, rank, (x) => x);
}

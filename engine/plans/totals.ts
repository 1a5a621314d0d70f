/** What the bits of all layers come to. */

/** The part of a model's table that totals need; everything by layer, and by offered bit-width within. */
export interface PricedTable {
  /** Offered bit-widths, ascending. */
  readonly bits: readonly number[];
  readonly layers: readonly { readonly weights: number; readonly bytes: readonly number[] }[];
  /** Of what is in no layer. */
  readonly otherBytes: number;
  /** Nats. */
  readonly sensitivity?: { readonly costs: readonly (readonly number[])[] };
}

export interface Totals {
  /** Mean over the weights of all layers. */
  readonly averageBits: number;
  /** Of the whole model. */
  readonly bytes: number;
  /** The sum of the layers' sensitivities, nats; undefined where none were measured. */
  readonly cost: number | undefined;
}

/** @param bits of each layer; one that is not offered is priced as the offered one nearest to it */
export function totalsOf(table: PricedTable, bits: readonly number[]): Totals {
  const { layers, otherBytes, sensitivity } = table;
  let [bytes, cost] = [otherBytes, 0];
  for (const [i, layer] of layers.entries()) {
    const at = priceIndex(table.bits, bits[i]!);
    bytes += layer.bytes[at]!;
    cost += sensitivity?.costs[i]![at] ?? 0;
  }
  return {
    averageBits: averageBits(
      layers.map(({ weights }) => weights),
      bits,
    ),
    bytes,
    cost: sensitivity && cost,
  };
}

/** Mean bits over the weights of all layers, 0 of none. */
export function averageBits(weights: readonly number[], bits: readonly number[]): number {
  const all = weights.reduce((sum, count) => sum + count, 0);
  return weights.reduce((sum, count, i) => sum + count * bits[i]!, 0) / (all || 1);
}

/** Where a bit-width, or the offered one nearest to it, stands in an ascending list; of two the lower. */
export function priceIndex(offered: readonly number[], bits: number): number {
  const exact = offered.indexOf(bits);
  if (exact >= 0) return exact;
  let best = 0;
  for (const [i, width] of offered.entries())
    if (Math.abs(width - bits) < Math.abs(offered[best]! - bits)) best = i;
  return best;
}

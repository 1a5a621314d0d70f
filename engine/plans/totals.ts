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
  /** Mean over the layers. */
  readonly averageBits: number;
  /** Mean over the weights. */
  readonly bitsPerWeight: number;
  /** Of the whole model. */
  readonly bytes: number;
  /** The sum of the layers' sensitivities, nats; undefined where none were measured. */
  readonly cost: number | undefined;
}

/** @param bits of each layer; one that is not offered is priced as the offered one nearest to it */
export function totalsOf(table: PricedTable, bits: readonly number[]): Totals {
  const { layers, otherBytes, sensitivity } = table;
  let [sum, weighted, weights, bytes, cost] = [0, 0, 0, otherBytes, 0];
  for (const [i, layer] of layers.entries()) {
    const width = bits[i]!;
    const at = priceIndex(table.bits, width);
    sum += width;
    weights += layer.weights;
    weighted += width * layer.weights;
    bytes += layer.bytes[at]!;
    cost += sensitivity?.costs[i]![at] ?? 0;
  }
  return {
    averageBits: layers.length > 0 ? sum / layers.length : 0,
    bitsPerWeight: weights > 0 ? weighted / weights : 0,
    bytes,
    cost: sensitivity && cost,
  };
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

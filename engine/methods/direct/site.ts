/** The weights that read one input, from its second moment to codes. */
import type { Factored } from './factor.js';

/** What an error of each column costs once feedback has made up for it: U_jj², [in], columns in their own order. */
export function costOf({ order, upper }: Pick<Factored, 'order' | 'upper'>): Float64Array {
  const { width, chunks } = upper;
  const cost = new Float64Array(order.length);
  for (const [place, column] of order.entries())
    cost[column] = chunks[Math.floor(place / width)]![place * width + (place % width)]! ** 2;
  return cost;
}

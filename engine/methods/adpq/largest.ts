/** The n-th largest of many numbers without sorting them. */

const HALF = 16;

/**
 * The magnitude that has exactly `rank` others before it, the largest first. Magnitudes are ordered as their bits are, which
 * are counted in two passes: by their upper halves, then by the lower ones of those that have the upper half found.
 * @param rank 0 to values.length − 1
 */
export function largestAt(values: Float32Array, rank: number): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const upper = new Uint32Array(2 ** (HALF - 1));
  for (const word of bits) upper[(word & 0x7fffffff) >>> HALF]!++;
  const high = countedDown(upper, rank);
  const lower = new Uint32Array(2 ** HALF);
  for (const word of bits) if ((word & 0x7fffffff) >>> HALF === high.at) lower[word & 0xffff]!++;
  const low = countedDown(lower, high.left);
  return new Float32Array(Uint32Array.of(high.at * 2 ** HALF + low.at).buffer)[0]!;
}

/** Where the one with `rank` before it is, counted from the end, and how many of that place are before it. */
function countedDown(counts: Uint32Array, rank: number): { readonly at: number; readonly left: number } {
  let [at, left] = [counts.length - 1, rank];
  for (; counts[at]! <= left; at--) left -= counts[at]!;
  return { at, left };
}

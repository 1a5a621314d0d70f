/** SpQR at an average of bits per weight: its codes and groups, and the threshold that leaves as many outliers as there is room for. */
import { UserError } from '../../errors.js';
import { MAX_BITS } from '../../plans/bits.js';
import { formOf, statedBits } from '../../quantized/form.js';
import type { QuantizedWeight } from '../../quantized/weight.js';

/** SpQR's own: statistics of 3 bits in bands of 16 rows. */
export const LEVEL = { rows: 16, scaleBits: 3, zeroBits: 3 } as const;
/** Columns of a group to choose from, the largest last: below 16 the statistics cost more than a bit. */
const GROUPS = [16, 32, 64, 128];
const MIN_BITS = 2;

export interface AverageLayout {
  readonly bits: number;
  readonly groupSize: number;
}

/**
 * The most bits of a code, and then the finest groups, that leave room for outliers below an average, as SpQR's authors count it
 * (`statedBits`). Throws UserError where there is no room. @param groupSize columns of a group, where they are given
 */
export function averageLayout(average: number, groupSize?: number): AverageLayout {
  const sizes = groupSize === undefined ? GROUPS : [groupSize];
  for (let bits = Math.min(MAX_BITS, Math.floor(average)); bits >= MIN_BITS; bits--)
    for (const size of sizes) if (least(bits, size) < average) return { bits, groupSize: size };
  const low = Math.ceil(100 * least(MIN_BITS, sizes.at(-1)!)) / 100;
  throw new UserError(
    `SpQR has averages above ${low} bits${groupSize === undefined ? '' : ` in groups of ${groupSize}`}, not ${average}.`,
  );
}

/** The average without outliers. */
const least = (bits: number, groupSize: number): number =>
  statedBits({ kind: 'grid', in: groupSize, out: LEVEL.rows, bits, groupSize, level: LEVEL })!;

/** Bits below an average that are near enough. */
const NEAR = 0.002;
/** Rounds of a search at most, those that look for where it begins included (SpQR's thresholds are known to a percent then). */
const ROUNDS = 12;

/**
 * Weights by the lowest threshold found whose outliers leave the average, as papers count it, at or below what is asked for.
 * @param round all weights by a threshold
 */
export async function thresholdFor(
  average: number,
  round: (threshold: number) => Promise<QuantizedWeight[]>,
): Promise<QuantizedWeight[]> {
  let best: { readonly weights: QuantizedWeight[]; readonly average: number } | undefined;
  let [low, high] = [-Infinity, Infinity];
  let at = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const weights = await round(2 ** at);
    const found = averageOf(weights);
    if (found <= average) {
      if (!best || found >= best.average) best = { weights, average: found };
      if (average - found < NEAR) break;
      high = at;
    } else low = at;
    at = low === -Infinity ? high - 1 : high === Infinity ? low + 1 : (low + high) / 2;
  }
  // A threshold that nothing passes leaves no outliers, for which there is room.
  return best?.weights ?? round(Number.MAX_VALUE);
}

/** As papers count, over weights of any sizes. */
function averageOf(weights: readonly QuantizedWeight[]): number {
  const sizes = weights.map(({ shape: [out, columns] }) => out * columns);
  const bits = weights.reduce((sum, weight, i) => sum + sizes[i]! * statedBits(formOf(weight))!, 0);
  return bits / sizes.reduce((a, b) => a + b, 0);
}

import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import type { AllocationLayer } from './allocate.js';
import { candidatesWithin } from './candidates.js';

const BITS = [2, 3, 4, 8];

/** Three layers, of which the first is so robust that its bits go to the others. */
const layers: readonly AllocationLayer[] = [
  { name: 'a', weights: 100, size: [30, 40, 50, 90], cost: [0.01, 0.005, 0.002, 0] },
  { name: 'b', weights: 100, size: [30, 40, 50, 90], cost: [40, 20, 10, 0.1] },
  { name: 'c', weights: 200, size: [60, 80, 100, 180], cost: [1, 0.5, 0.3, 0.05] },
];
const within = (averageBits: number, of = layers) =>
  candidatesWithin(BITS, of, 'average-bits', averageBits * of.reduce((n, l) => n + l.weights, 0));

describe('candidates', () => {
  it('are the plan of least cost, the highest uniform one, and two that stay near that', () => {
    const { least, uniform, guarded } = within(4.5)!;
    expect(least).toEqual([2, 8, 4]);
    expect(uniform).toEqual({ bits: 4, plan: [4, 4, 4] });
    expect(guarded).toEqual([[4, 4, 4], [4, 8, 3]]); // prettier-ignore
  });

  it('count weights, not layers', () => {
    // Bits of 8, 2, 2 are four a layer on average, and three and a half a weight.
    expect(within(3.5)!.uniform!.bits).toBe(3);
  });

  it('have no uniform plan where limits leave it no room, and keep limits', () => {
    const limited = layers.map((layer) => (layer.name === 'c' ? { ...layer, fixed: 8 } : layer));
    const { least, uniform, guarded } = within(5.5, limited)!;
    expect(uniform).toEqual({ bits: 3, plan: [3, 3, 8] });
    for (const plan of [least, ...guarded]) expect(plan[2]).toBe(8);
    expect(within(4.9, limited)).toBeUndefined();
  });

  it('are all within the size, and the guarded ones above their floor', () => {
    const random = createRandom(5, 'candidates');
    for (let round = 0; round < 200; round++) {
      const some = Array.from({ length: 5 }, (): AllocationLayer => {
        const weights = 1 + random.integer(9);
        const fixed = random.integer(6) === 0 ? { fixed: BITS[random.integer(4)]! } : {};
        const scale = Math.exp(2 * random.normal());
        return {
          weights,
          size: BITS.map((b) => b * weights),
          cost: BITS.map((b) => scale * 4 ** -b),
          ...fixed,
        };
      });
      const size = some.reduce((n, l) => n + l.weights, 0) * (2 + random.integer(600) / 100);
      const found = candidatesWithin(BITS, some, 'bytes', size);
      if (!found) continue;
      const sizeOf = (plan: readonly number[]) => plan.reduce((n, b, i) => n + b * some[i]!.weights, 0);
      const { least, uniform, guarded } = found;
      for (const plan of [least, ...guarded, ...(uniform ? [uniform.plan] : [])])
        expect(sizeOf(plan)).toBeLessThanOrEqual(size);
      if (!uniform) continue;
      const higher = BITS[BITS.indexOf(uniform.bits) + 1];
      if (higher !== undefined)
        expect(sizeOf(some.map((layer) => layer.fixed ?? higher))).toBeGreaterThan(size);
      for (const [i, layer] of some.entries())
        expect(guarded[0]![i]).toBeGreaterThanOrEqual(layer.fixed ?? uniform.bits);
    }
  });
});

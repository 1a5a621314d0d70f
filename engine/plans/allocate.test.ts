import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { best, solve, type AllocationLayer } from './allocate.js';
import { sizeWithin } from './budget.js';
import type { Budget } from '../protocol/protocol.js';

const KINDS: readonly Budget[] = ['average-bits', 'bytes'];
const BITS = [2, 3, 4, 5, 6, 7, 8];

const sizeAt = (layer: AllocationLayer, kind: Budget, bits: readonly number[], b: number) =>
  kind === 'bytes' ? layer.size[b]! : bits[b]! * layer.weights;

/** Size and cost of a plan, and whether its layers' limits allow it. */
function measure(
  widths: readonly number[],
  bits: readonly number[],
  layers: readonly AllocationLayer[],
  kind: Budget,
) {
  const at = (i: number) => bits.indexOf(widths[i]!);
  return {
    size: layers.reduce((sum, layer, i) => sum + sizeAt(layer, kind, bits, at(i)), 0),
    cost: layers.reduce((sum, layer, i) => sum + layer.cost[at(i)]!, 0),
    allowed: layers.every(
      ({ min = 0, max = 8, fixed }, i) =>
        widths[i]! >= min && widths[i]! <= max && (fixed ?? widths[i]) === widths[i],
    ),
  };
}

/** All non-dominated (size, cost), by trying every plan. */
function bruteForce(bits: readonly number[], layers: readonly AllocationLayer[], kind: Budget) {
  let plans: number[][] = [[]];
  for (const _ of layers) plans = plans.flatMap((plan) => bits.map((b) => [...plan, b]));
  const all = plans
    .map((plan) => measure(plan, bits, layers, kind))
    .filter(({ allowed }) => allowed)
    .sort((a, b) => a.size - b.size || a.cost - b.cost);
  const frontier: { size: number; cost: number }[] = [];
  for (const { size, cost } of all)
    // Sums of the same fractions in another order are the same size.
    if (frontier.length === 0 || cost < frontier.at(-1)!.cost - 1e-12)
      if (size < (frontier.at(-1)?.size ?? -1) + 1e-9) frontier.splice(-1, 1, { size, cost });
      else frontier.push({ size, cost });
  return frontier;
}

/** Layers as measured: costs that mostly fall with bits, noise on them, sizes with scales. */
function randomLayers(seed: number, count: number, bits: readonly number[], limited: boolean) {
  const random = createRandom(seed, 'layers');
  return Array.from({ length: count }, (): AllocationLayer => {
    const weights = 1 + random.integer(40);
    const sensitivity = Math.exp(2 * random.normal());
    const whole = random.integer(3) === 0;
    const lone = bits[random.integer(bits.length)]!;
    const limit = limited ? random.integer(5) : 4;
    return {
      weights,
      size: bits.map((b) => Math.ceil(weights * b) + random.integer(5)),
      // Whole costs make ties.
      cost: bits.map((b) => {
        const cost = sensitivity * 4 ** -b * 16 + 0.02 * random.normal();
        return whole ? Math.round(4 * cost) : cost;
      }),
      ...(limit === 0 && { min: lone }),
      ...(limit === 1 && { max: lone }),
      ...(limit === 2 && { fixed: lone }),
    };
  });
}

const ofOneSize = (layers: readonly AllocationLayer[]) => layers.map((layer) => ({ ...layer, weights: 1 }));

describe('solve', () => {
  const golden = JSON.parse(
    readFileSync(new URL('../../test/golden/bit_allocation.json', import.meta.url), 'utf8'),
  ) as {
    bits: number[];
    total: number;
    sensitivity: number[][];
    min_cost: number;
    one_optimal_plan: number[];
  }[];

  it.each(golden.map((g) => [`${g.sensitivity.length} layers, ${g.total} bits`, g] as const))(
    'finds the golden minimum: %s',
    (_, { bits, total, sensitivity, min_cost, one_optimal_plan }) => {
      const layers = sensitivity.map((cost) => ({ cost, size: cost.map(() => 0), weights: 1 }));
      const frontier = solve(bits, layers, 'average-bits');
      const found = best(frontier, total)!;
      expect(found.cost).toBeCloseTo(min_cost, 9);
      const { size, cost } = measure(found.bits(), bits, layers, 'average-bits');
      expect(size).toBeLessThanOrEqual(total);
      expect(cost).toBeCloseTo(min_cost, 9);
      expect(measure(one_optimal_plan, bits, layers, 'average-bits').cost).toBeCloseTo(cost, 9);
    },
  );

  const offers = [[2, 4, 8], [2, 3, 5, 8], [1, 2.3, 4, 8], [1.08, 2.3, 4], [2, 7 / 3, 2.5]]; // prettier-ignore
  it.each(KINDS)('finds the whole frontier, and plans that are on it: %s', (kind) => {
    for (let seed = 0; seed < 100; seed++) {
      const bits = offers[seed % offers.length]!;
      const layers = randomLayers(seed, 2 + (seed % 5), bits, seed % 2 === 1);
      const expected = bruteForce(bits, layers, kind);
      if (expected.length === 0) {
        expect(() => solve(bits, layers, kind)).toThrow(/No bit-width is left for/);
        continue;
      }
      const { points, exact } = solve(bits, layers, kind);
      expect(exact).toBe(true);
      expect(points).toHaveLength(expected.length);
      for (const [i, { size, cost, bits: plan }] of points.entries()) {
        expect(size).toBeCloseTo(expected[i]!.size, 9);
        expect(cost).toBeCloseTo(expected[i]!.cost, 10);
        const own = measure(plan(), bits, layers, kind);
        expect(own.size).toBeCloseTo(size, 9);
        expect(own.cost).toBeCloseTo(cost, 10);
        expect(own.allowed).toBe(true);
      }
    }
  });

  it('matches a plain dynamic programme on a hundred noisy layers', () => {
    const layers = ofOneSize(randomLayers(7, 100, BITS, false));
    let costs = Array<number>(601).fill(Infinity).fill(0, 0, 1);
    for (const { cost } of layers) {
      const next = Array<number>(601).fill(Infinity);
      for (const [size, sum] of costs.entries())
        for (const [b, c] of cost.entries()) next[size + b] = Math.min(next[size + b] ?? Infinity, sum + c);
      costs = next;
    }
    const frontier = solve(BITS, layers, 'average-bits');
    let least = Infinity;
    for (let size = 0; size <= 600; size++) {
      least = Math.min(least, costs[size]!);
      expect(best(frontier, 200 + size)!.cost).toBeCloseTo(least, 9);
    }
  });

  it('rounds sizes up, says so and stays within the budget where there are too many', () => {
    const random = createRandom(3, 'sizes');
    const layers = randomLayers(3, 30, BITS, false).map((layer): AllocationLayer => ({
      ...layer,
      size: BITS.map((b) => b * 1_000_003 + random.integer(1000)),
    }));
    const { points, exact, unit } = solve(BITS, layers, 'bytes');
    expect(exact).toBe(false);
    expect(unit).toBeGreaterThan(1);
    const off = points
      .filter((_, i) => i % 997 === 0)
      .map(({ size, cost, bits }) => {
        const own = measure(bits(), BITS, layers, 'bytes');
        expect(own.cost).toBeCloseTo(cost, 9);
        return size - own.size;
      });
    for (const bytes of off) {
      expect(bytes).toBeGreaterThanOrEqual(0);
      expect(bytes).toBeLessThanOrEqual(unit * layers.length);
    }
  });

  it('solves ten thousand layers within bounded work', () => {
    const layers = ofOneSize(randomLayers(11, 10_000, BITS, false));
    const { points, exact } = solve(BITS, layers, 'average-bits');
    expect(exact).toBe(true);
    const middle = points[points.length >> 1]!;
    expect(measure(middle.bits(), BITS, layers, 'average-bits').size).toBe(middle.size);
  });

  it('rounds bits up that are multiples of no fraction, says so and stays within the budget', () => {
    const kind = 'average-bits';
    const bits = [1.0837482917, Math.E, 4, 6 + Math.SQRT1_2];
    for (let seed = 0; seed < 5; seed++) {
      const layers = randomLayers(seed, 2 + (seed % 4), bits, false);
      const { points, exact } = solve(bits, layers, kind);
      expect(exact).toBe(false);
      const weights = layers.reduce((n, l) => n + l.weights, 0);
      const slack = weights * 1e-4;
      for (const { size, cost } of bruteForce(bits, layers, kind))
        expect(best({ points, exact, unit: 1 }, size + slack)!.cost).toBeLessThanOrEqual(cost + 1e-12);
      for (const { size, cost, bits: plan } of points) {
        const own = measure(plan(), bits, layers, kind);
        expect(own.cost).toBeCloseTo(cost, 10);
        expect(own.size).toBeLessThanOrEqual(size + 1e-9);
        expect(own.size).toBeGreaterThan(size - slack);
      }
    }
  });

  it('finds the plan of a mean that its bits reach only in fractions', () => {
    const bits = [1.08, 2.3, 4];
    const layers = ofOneSize(randomLayers(5, 100, bits, false)).map((layer) => ({
      ...layer,
      cost: [2, 1, 0.5],
    }));
    const frontier = solve(bits, layers, 'average-bits');
    expect(best(frontier, sizeWithin('average-bits', { layers, otherBytes: 0 }, 1.08))!.bits()).toEqual(
      layers.map(() => 1.08),
    );
    expect(best(frontier, sizeWithin('average-bits', { layers, otherBytes: 0 }, 2.3))!.bits()).toEqual(
      layers.map(() => 2.3),
    );
    expect(best(frontier, 107.99)).toBeUndefined();
  });

  it('names layers that are left no bit-width', () => {
    const layer = { cost: [1, 0], size: [1, 2], weights: 1 };
    expect(() => solve([2, 4], [{ ...layer, name: 'a.q', min: 5 }], 'bytes')).toThrow(/a\.q/);
  });
});

describe('budgets', () => {
  const layers = [3, 5].map((weights) => ({ cost: [1, 0], size: [weights, 2 * weights], weights: 1 }));

  it('below the smallest have no plan', () => {
    const frontier = solve([2, 4], layers, 'average-bits');
    expect(best(frontier, 3)).toBeUndefined();
    expect(best(frontier, 4)).toBe(frontier.points[0]);
    expect(best(frontier, 99)).toBe(frontier.points.at(-1));
  });
});

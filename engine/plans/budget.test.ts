import { describe, expect, it } from 'vitest';
import { budgetOfSize, sizeWithin } from './budget.js';

const layers = [{ weights: 3 }, { weights: 5 }];

describe('budgets', () => {
  it.each([
    ['average-bits', 26, 3.25],
    ['bytes', 11, 1011],
  ] as const)('are what people name: %s', (kind, size, budget) => {
    const model = { layers, otherBytes: 1000 };
    expect(budgetOfSize(kind, model, size)).toBe(budget);
    expect(sizeWithin(kind, model, budget)).toBeCloseTo(size, 9);
  });

  it('include a mean that is no exact binary fraction', () => {
    const ten = Array.from({ length: 10 }, () => layers[0]!);
    const size = sizeWithin('average-bits', { layers: ten, otherBytes: 0 }, 2.3);
    expect(size).toBeGreaterThanOrEqual(69);
    expect(size).toBeCloseTo(69, 9);
  });

  it('keep the fraction of a sum of bits, which layers of 2.3 bits have', () => {
    const three = { layers: [...layers, layers[0]!], otherBytes: 0 };
    expect(sizeWithin('average-bits', three, 2.3)).toBeGreaterThanOrEqual(25.3);
    expect(budgetOfSize('average-bits', three, 25.3)).toBeCloseTo(2.3, 12);
  });

  it('smaller than what is in no layer leave nothing', () => {
    expect(sizeWithin('bytes', { layers, otherBytes: 1000 }, 900)).toBeLessThan(0);
  });
});

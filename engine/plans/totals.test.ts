import { describe, expect, it } from 'vitest';
import { priceIndex, totalsOf } from './totals.js';

const table = {
  bits: [2, 4, 8],
  layers: [
    { weights: 100, bytes: [30, 55, 105] },
    { weights: 300, bytes: [80, 155, 305] },
  ],
  otherBytes: 1000,
};

describe('totalsOf', () => {
  it('adds up bits, bytes and costs', () => {
    const sensitivity = { costs: [[1, 0.5, 0.1], [4, 2, 0.25]] }; // prettier-ignore
    expect(totalsOf({ ...table, sensitivity }, [8, 2])).toEqual({
      averageBits: (800 + 600) / 400,
      bytes: 1000 + 105 + 80,
      cost: 4.1,
    });
  });

  it('adds up fractions of a bit', () => {
    const { averageBits, bytes } = totalsOf({ ...table, bits: [1.08, 2.3, 4] }, [2.3, 4]);
    expect(averageBits).toBeCloseTo((230 + 1200) / 400, 12);
    expect(bytes).toBe(1000 + 55 + 305);
  });

  it('knows no cost without sensitivities', () => {
    expect(totalsOf(table, [4, 4])).toEqual({
      averageBits: 4,
      bytes: 1210,
      cost: undefined,
    });
  });

  it('prices bits that are not offered as their neighbour', () => {
    expect([2, 3, 5, 6, 7].map((bits) => priceIndex(table.bits, bits))).toEqual([0, 0, 1, 1, 2]);
    expect(totalsOf(table, [7, 4]).bytes).toBe(1000 + 105 + 155);
  });
});

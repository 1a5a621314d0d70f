import { describe, expect, it } from 'vitest';
import { hadamardFactors, hadamardMatrix } from './hadamard.js';

/** Streams, heads and perceptrons of published models of the supported families, and of the sample. */
const SIZES = [
  ...[64, 80, 96, 112, 128, 256], // heads
  ...[128, 576, 896, 960, 1536, 2048, 2560, 3072, 3584, 4096, 5120, 6656, 8192], // streams
  ...[352, 1536, 2560, 4864, 5632, 8192, 8960, 9728, 11008, 12288, 13824, 14336, 17408, 17920], // gated
  ...[18944, 22016, 25600, 27648, 28672, 29568],
];
const factors = [...new Set(SIZES.flatMap((size) => [...(hadamardFactors(size) ?? [])]))];
const ORDERS = [1, 2, 12, 20, 28, 36, 44, 52, 60, 68, 76, 100, 108, 140, 148, 344, ...factors];

describe('hadamardMatrix', () => {
  it.each([...new Set(ORDERS)])('of order %i has entries ±1 and orthogonal rows', (order) => {
    const h = hadamardMatrix(order);
    expect(h).toHaveLength(order * order);
    expect(h.every((x) => x === 1 || x === -1)).toBe(true);
    for (let i = 0; i < order; i++)
      for (let j = 0; j <= i; j++) {
        let dot = 0;
        for (let k = 0; k < order; k++) dot += h[i * order + k]! * h[j * order + k]!;
        if (dot !== (i === j ? order : 0)) expect.fail(`rows ${i} and ${j}: ${dot}`);
      }
  });

  it('is the doubling of Sylvester for powers of two', () => {
    expect([...hadamardMatrix(4)]).toEqual([1, 1, 1, 1, 1, -1, 1, -1, 1, 1, -1, -1, 1, -1, -1, 1]);
  });

  it.each([3, 6, 10, 92])('refuses order %i', (order) => {
    expect(() => hadamardMatrix(order)).toThrow(/No Hadamard matrix of order/);
  });
});

describe('hadamardFactors', () => {
  it.each(SIZES)('has %i as its product', (size) => {
    expect(hadamardFactors(size)!.reduce((a, b) => a * b, 1)).toBe(size);
  });

  // Adapter sets of rotated models rest on them (docs/FORMATS.md).
  it.each([
    [64, [64]],
    [128, [8, 16]],
    [352, [8, 44]],
    [896, [28, 32]],
    [4864, [64, 76]],
    [11008, [32, 344]],
    [14336, [16, 28, 32]],
    [29568, [24, 28, 44]],
  ])('of %i are always the same', (size, orders) => {
    expect(hadamardFactors(size)).toEqual(orders);
  });

  it.each([3, 6, 10, 50, 13696])('knows none for %i', (size) => {
    expect(hadamardFactors(size)).toBeUndefined();
  });

  it('of 1 are none', () => {
    expect(hadamardFactors(1)).toEqual([]);
  });
});

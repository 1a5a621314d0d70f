import { expect, it } from 'vitest';
import type { GridForm } from '../../quantized/form.js';
import { nbitsFor, packNBits } from './nbits.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex').replace(/../g, '$& ').trim();
const grid = { kind: 'grid', groupSize: 16, scale: Float32Array.of(1, 2, 3) } as const;

it('packs integers from the lowest bits, zero points row by row', () => {
  const codes = (length: number, levels: number) =>
    Uint8Array.from({ length }, (_, i) => (7 * i + 2) % levels);
  const four = packNBits(
    { ...grid, shape: [1, 32], bits: 4, codes: codes(32, 16), zero: Float32Array.of(5, 9) },
    { bits: 4, block: 16, parts: 1, isOnGrid: true },
  );
  expect(hex(four.integers.subarray(0, 8))).toBe('92 70 5e 3c 1a f8 d6 b4');
  expect(hex(four.zeros)).toBe('95');
  const two = packNBits(
    { ...grid, shape: [1, 48], bits: 2, codes: codes(48, 4), zero: Float32Array.of(1, 2, 3) },
    { bits: 2, block: 16, parts: 1, isOnGrid: true },
  );
  expect([hex(two.integers.subarray(0, 4)), hex(two.zeros), [...two.scales]]).toEqual([
    'c6 c6 c6 c6',
    '39',
    [1, 2, 3],
  ]);
  const halves = packNBits(
    { ...grid, shape: [1, 16], bits: 2, codes: codes(16, 4), zero: Float32Array.of(1.5) },
    { bits: 4, block: 16, parts: 2, isOnGrid: true },
  );
  expect([hex(halves.integers.subarray(0, 2)), hex(halves.zeros), halves.scales[0]]).toEqual([
    '24 60',
    '03',
    0.5,
  ]);
});

it('has the smallest container, and blocks that groups are made of', () => {
  const form = (bits: number, groupSize: number, more: Partial<GridForm> = {}) => {
    const chosen = nbitsFor({ kind: 'grid', in: 352, out: 8, bits, groupSize, ...more });
    return chosen.isOnGrid ? [chosen.bits, chosen.block] : 'rounded';
  };
  expect([2, 3, 4, 5, 8].map((bits) => form(bits, -1))).toEqual([
    [2, 128],
    [4, 128],
    [4, 128],
    [8, 256],
    [8, 256],
  ]);
  expect([128, 64, 96, 32, 512].map((size) => form(4, size))).toEqual([
    [4, 128],
    [4, 64],
    [4, 32],
    [4, 32],
    [4, 128],
  ]);
  expect([form(2, 128, { zeroBits: 3 }), form(4, 128, { zeroBits: 5 })]).toEqual([
    [4, 128],
    [8, 128],
  ]);
  for (const rounded of [
    form(8, -1, { zeroBits: 9 }),
    form(4, 24),
    form(4, 128, { outliers: 1 }),
    form(4, 128, { ordered: true }),
  ])
    expect(rounded).toBe('rounded');
});

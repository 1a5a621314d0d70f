import { describe, expect, it } from 'vitest';
import type { GridForm } from '../../quantized/form.js';
import { containerFor } from './containers.js';
import { integersFor, packIntegers } from './integers.js';

const form = (bits: number, more: Partial<GridForm> = {}): GridForm => ({
  ...{ kind: 'grid', in: 256, out: 2, bits, groupSize: -1 },
  ...more,
});

describe('weights whose inputs are integers', () => {
  it.each([1, 2, 3, 4, 5, 6, 7])('of %i bits are signed', (bits) => {
    expect(integersFor(form(bits))).toEqual({ type: 'int8', parts: 1 });
  });

  it('are unsigned where sums of two products do not fit 16 bits', () => {
    expect(integersFor(form(8))).toEqual({ type: 'uint8', parts: 1 });
    expect(integersFor(form(6, { zeroBits: 7 }))).toEqual({ type: 'int8', parts: 2 });
    expect(integersFor(form(7, { zeroBits: 8 }))).toEqual({ type: 'uint8', parts: 2 });
  });

  it('have whole rows, on plain grids', () => {
    expect(integersFor(form(4, { groupSize: 256 }))).toBeDefined();
    expect(integersFor(form(4, { groupSize: 128 }))).toBeUndefined();
    expect(integersFor(form(8, { zeroBits: 9 }))).toBeUndefined();
    expect(integersFor(form(4, { outliers: 1 }))).toBeUndefined();
  });

  it('are otherwise codes of no fewer than 4 bits, for kernels that do not round inputs', () => {
    expect(containerFor(form(2, { groupSize: 128 }), true)).toMatchObject({ kind: 'nbits', bits: 4 });
    expect(containerFor(form(2, { groupSize: 128 }), false)).toMatchObject({ kind: 'nbits', bits: 2 });
    expect(containerFor(form(2), true)).toMatchObject({ kind: 'integers' });
  });
});

it('integers lie columns first, without their zero points or with them', () => {
  const grid = { kind: 'grid', shape: [2, 3], groupSize: -1, scale: Float32Array.of(0.5, 2) } as const;
  const weight = { ...grid, bits: 2, codes: Uint8Array.of(0, 1, 3, 2, 0, 1), zero: Float32Array.of(1, 2.5) };
  const signed = packIntegers(weight, { type: 'int8', parts: 2 });
  expect([...(signed.integers as Int8Array)]).toEqual([-2, -1, 0, -5, 4, -3]);
  expect([...signed.scales]).toEqual([0.25, 1]);
  const unsigned = packIntegers(weight, { type: 'uint8', parts: 2 });
  expect([...(unsigned.integers as Uint8Array)]).toEqual([0, 4, 2, 0, 6, 2]);
  expect([...unsigned.zeros]).toEqual([2, 5]);
});

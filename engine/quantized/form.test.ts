import { describe, expect, it } from 'vitest';
import { bitsPerWeight, bytesOf, formOf, statedBits, type BinaryForm, type GridForm } from './form.js';
import type { BinaryWeight, GridWeight } from './weight.js';

const grid = (bits: number, groupSize: number, more: Partial<GridForm> = {}): GridForm => ({
  kind: 'grid',
  in: 100,
  out: 3,
  bits,
  groupSize,
  ...more,
});
const binary = (more: Partial<BinaryForm>): BinaryForm => ({
  kind: 'binary',
  in: 100,
  out: 3,
  groupSize: 64,
  classes: 1,
  second: 0,
  ...more,
});

const LEVEL = { rows: 16, scaleBits: 3, zeroBits: 3 } as const;

describe('bytes of a weight [3, 100]', () => {
  it.each<[string, GridForm, number]>([
    // 3 × 100 integers, then scales of 2 bytes and zero points: whole rows, groups of 64 and 36 columns.
    ['8 bits', grid(8, -1), 300 + 3 * 2 + 3],
    ['4 bits, the last byte half full', grid(4, -1), 150 + 3 * 2 + 2],
    ['3 bits over bytes', grid(3, -1), 113 + 3 * 2 + 2],
    ['2 bits in groups', grid(2, 64), 75 + 6 * 2 + 2],
    ['groups wider than a row', grid(2, 128), 75 + 3 * 2 + 1],
    // 6 zero points of 3 bits take 18 of 24.
    ['zero points that have halves', grid(2, 64, { zeroBits: 3 }), 75 + 6 * 2 + 3],
    ['zero points in float16', grid(2, 64, { zeroBits: 16 }), 75 + 6 * 2 + 12],
    // 100 columns of 7 bits each.
    ['columns in an order of their own', grid(2, 64, { ordered: true }), 75 + 6 * 2 + 2 + 88],
    // 2 bands of rows with 2 groups each, float16 step and start of scales and of zero points; 6 × 3 and 6 × 2 bits of codes.
    [
      'statistics on grids',
      grid(2, 64, { level: { rows: 2, scaleBits: 3, zeroBits: 2 } }),
      75 + 3 + 2 + 4 * 4 * 2,
    ],
    // 5 × (2 bits of row + 7 bits of column) are 45 bits.
    ['outliers', grid(2, 64, { outliers: 5 }), 75 + 6 * 2 + 2 + 5 * 2 + 6],
  ])('on grids: %s', (_, form, expected) => {
    expect(bytesOf(form)).toBe(expected);
    expect(bitsPerWeight(form)).toBe((8 * expected) / 300);
  });

  it.each<[string, BinaryForm, number]>([
    // A sign each; a scale and a mean of 2 bytes for each of two groups of a row.
    ['one class', binary({}), 38 + 6 * 4],
    ['whole rows', binary({ groupSize: -1 }), 38 + 3 * 4],
    // The class of an element takes 1 bit; three classes take 2.
    ['two classes', binary({ classes: 2 }), 38 + 38 + 6 * 2 * 4],
    ['three classes', binary({ classes: 3 }), 38 + 75 + 6 * 3 * 4],
    // 3 × 10 more signs (330 bits in all), a bit for each column that says whether it is one, a mean and two scales per group.
    ['a second plane', binary({ second: 10 }), 42 + 13 + 6 * 4 + 6 * 6],
    // Elements of the 10 columns have no class.
    ['a second plane and classes', binary({ second: 10, classes: 2 }), 42 + 34 + 13 + 6 * 8 + 6 * 6],
  ])('as signs: %s', (_, form, expected) => {
    expect(bytesOf(form)).toBe(expected);
    expect(bitsPerWeight(form)).toBe((8 * expected) / 300);
  });
});

describe('bits as papers count', () => {
  it.each([
    // SpQR's own table: 2 bits, groups of 16 or 64 columns and rows, statistics of 3 bits.
    [{ kind: 'grid', in: 256, out: 64, bits: 2, groupSize: 16, level: LEVEL }, 2.625],
    [{ kind: 'grid', in: 256, out: 64, bits: 2, groupSize: 64, level: LEVEL, ordered: true }, 2.15625],
    // One weight of 1,024 is an outlier, of 32 bits.
    [{ kind: 'grid', in: 256, out: 64, bits: 2, groupSize: 16, level: LEVEL, outliers: 16 }, 2.65625],
    // BiLLM: signs alone.
    [{ kind: 'binary', in: 100, out: 3, groupSize: 64, classes: 2, second: 8 }, 1.08],
  ] as const)('of %j', (form, expected) => {
    expect(statedBits(form)).toBeCloseTo(expected, 10);
  });

  it('are everything stored for others', () => {
    expect(statedBits(grid(4, -1))).toBeUndefined();
  });
});

describe('the form of a weight', () => {
  const weight = (zero: readonly number[]): GridWeight => ({
    kind: 'grid',
    shape: [2, 4],
    bits: 2,
    codes: new Uint8Array(8),
    groupSize: 2,
    scale: new Float32Array(4).fill(1),
    zero: Float32Array.from(zero),
  });
  const form = { kind: 'grid', in: 4, out: 2, bits: 2, groupSize: 2 } as const;

  it('has as many bits for a zero point as its values need', () => {
    expect(formOf(weight([0, 1, 2, 3]))).toEqual({ ...form, zeroBits: 2 });
    expect(formOf(weight([0, 1.5, 2, 3]))).toEqual({ ...form, zeroBits: 3 });
    expect(formOf(weight([0, 1.25, 2, 3]))).toEqual({ ...form, zeroBits: 16 });
    for (const outside of [-1, 4, 3.5])
      expect(formOf(weight([0, outside, 2, 3]))).toEqual({ ...form, zeroBits: 16 });
  });

  it('has outliers and an order where the weight has them', () => {
    const outliers = {
      rows: Uint32Array.of(0, 1, 1),
      columns: Uint32Array.of(3, 0, 2),
      values: Float32Array.of(9, 8, 7),
    };
    const own = { ...weight([0, 1, 2, 3]), outliers, order: Uint32Array.of(3, 1, 0, 2) };
    expect(formOf(own)).toEqual({ ...form, zeroBits: 2, outliers: 3, ordered: true });
  });

  it('has statistics on grids where the weight has them', () => {
    const statistic = (bits: number) => ({
      bits,
      codes: new Uint8Array(4),
      step: new Float32Array(2),
      start: new Float32Array(2),
    });
    const level = { rows: 2, scale: statistic(3), zero: statistic(4) };
    expect(formOf({ ...weight([0, 1.25, 2, 3]), level })).toEqual({
      ...form,
      level: { rows: 2, scaleBits: 3, zeroBits: 4 },
    });
  });

  it('of signs has its classes and the columns of the second plane', () => {
    const signs: BinaryWeight = {
      kind: 'binary',
      shape: [2, 4],
      signs: new Uint8Array(8),
      classes: 2,
      classOf: new Uint8Array(8),
      groupSize: -1,
      scale: new Float32Array(4),
      mean: new Float32Array(4),
    };
    const own = { kind: 'binary', in: 4, out: 2, groupSize: -1, classes: 2, second: 0 } as const;
    expect(formOf(signs)).toEqual(own);
    const second = {
      columns: Uint32Array.of(0, 2, 3),
      signs: new Uint8Array(6),
      mean: new Float32Array(2),
      scales: [new Float32Array(2), new Float32Array(2)] as const,
    };
    expect(formOf({ ...signs, second })).toEqual({ ...own, second: 3 });
  });
});

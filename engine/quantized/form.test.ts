import { describe, expect, it } from 'vitest';
import { bitsPerWeight, bytesOf, formOf, type BinaryForm, type GridForm } from './form.js';
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
    // 3 × 10 more signs (330 bits in all), a bit for each column that says whether it is one, a scale for each group.
    ['a second plane', binary({ second: 10 }), 42 + 13 + 6 * 4 + 6 * 2],
  ])('as signs: %s', (_, form, expected) => {
    expect(bytesOf(form)).toBe(expected);
    expect(bitsPerWeight(form)).toBe((8 * expected) / 300);
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
      scale: new Float32Array(2),
    };
    expect(formOf({ ...signs, second })).toEqual({ ...own, second: 3 });
  });
});

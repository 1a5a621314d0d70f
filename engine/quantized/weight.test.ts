import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { statisticValues, toFloats, type BinaryWeight, type GridWeight } from './weight.js';

const [OUT, IN] = [3, 7];
const random = createRandom(1, 'weights');
const normals = (length: number) => Float32Array.from({ length }, () => random.normal());
const integers = (length: number, limit: number) => Uint8Array.from({ length }, () => random.integer(limit));

/** A matrix by the value of each element. */
const matrix = (value: (row: number, column: number) => number) =>
  Float32Array.from({ length: OUT * IN }, (_, i) => value(Math.floor(i / IN), i % IN));

describe('a weight on grids', () => {
  const weight = (groupSize: number, groups: number): GridWeight => ({
    kind: 'grid',
    shape: [OUT, IN],
    bits: 3,
    codes: integers(OUT * IN, 8),
    groupSize,
    scale: normals(OUT * groups),
    zero: Float32Array.from({ length: OUT * groups }, () => random.integer(16) / 2),
  });
  const valueOf = ({ scale, zero, codes }: GridWeight, at: number, row: number, column: number) =>
    Math.fround(scale[at]! * (codes[row * IN + column]! - zero[at]!));

  it('has a scale and a zero point per row', () => {
    const own = weight(-1, 1);
    expect(toFloats(own)).toEqual(matrix((row, column) => valueOf(own, row, row, column)));
  });

  it('has them per group of columns, the last with as many as are left', () => {
    const own = weight(3, 3);
    const grids = [0, 0, 0, 1, 1, 1, 2];
    expect(toFloats(own)).toEqual(
      matrix((row, column) => valueOf(own, 3 * row + grids[column]!, row, column)),
    );
  });

  it('has groups of the columns in their order, the codes staying in their places', () => {
    const own = { ...weight(3, 3), order: Uint32Array.of(6, 2, 0, 5, 1, 3, 4) };
    // 6, 2 and 0 are the first group, 5, 1 and 3 the second, 4 the last.
    const grids = [0, 1, 0, 1, 2, 1, 0];
    expect(toFloats(own)).toEqual(
      matrix((row, column) => valueOf(own, 3 * row + grids[column]!, row, column)),
    );
  });

  it('has scales and zero points of grids of their own', () => {
    const statistic = {
      bits: 3,
      codes: integers(OUT * 2, 8),
      step: normals(2 * 2),
      start: normals(2 * 2),
    };
    // Two groups of a row; two rows are a band, the third one of its own.
    const values = statisticValues(statistic, 2, 2);
    for (let row = 0; row < OUT; row++)
      for (let group = 0; group < 2; group++) {
        const at = (row < 2 ? 0 : 2) + group;
        const lag = Math.fround(statistic.codes[2 * row + group]! - statistic.start[at]!);
        expect(values[2 * row + group]).toBe(Math.fround(statistic.step[at]! * lag));
      }
  });

  it('has outliers in place of what the grid says', () => {
    const own = { ...weight(3, 3), order: Uint32Array.of(6, 2, 0, 5, 1, 3, 4) };
    const outliers = {
      rows: Uint32Array.of(2, 0),
      columns: Uint32Array.of(4, 6),
      values: Float32Array.of(100, -100),
    };
    const floats = toFloats(own);
    floats[2 * IN + 4] = 100;
    floats[6] = -100;
    expect(toFloats({ ...own, outliers })).toEqual(floats);
  });
});

describe('a weight as signs', () => {
  // Two groups of columns: 4 and 3.
  const weight: BinaryWeight = {
    kind: 'binary',
    shape: [OUT, IN],
    signs: integers(OUT * IN, 2),
    classes: 2,
    classOf: integers(OUT * IN, 2),
    groupSize: 4,
    scale: normals(OUT * 2 * 2),
    mean: normals(OUT * 2 * 2),
  };
  const valueOf = (row: number, column: number) => {
    const group = 2 * row + (column < 4 ? 0 : 1);
    const own = 2 * group + weight.classOf[row * IN + column]!;
    const scale = weight.scale[own]!;
    return weight.mean[own]! + (weight.signs[row * IN + column] ? scale : -scale);
  };

  it('has a mean and a scale per row, block of columns and class', () => {
    expect(toFloats(weight)).toEqual(matrix(valueOf));
  });

  it('has two planes with statistics of their own in some columns', () => {
    const second = {
      columns: Uint32Array.of(1, 5),
      signs: integers(OUT * 2, 2),
      mean: normals(OUT * 2),
      scales: [normals(OUT * 2), normals(OUT * 2)] as const,
    };
    const own = (row: number, i: number) => {
      // Column 1 is of the first group, 5 of the second.
      const group = 2 * row + i;
      const [first, other] = second.scales;
      const sign = weight.signs[row * IN + [1, 5][i]!] ? 1 : -1;
      const otherSign = second.signs[2 * row + i] ? 1 : -1;
      return Math.fround(second.mean[group]! + sign * first[group]!) + otherSign * other[group]!;
    };
    expect(toFloats({ ...weight, second })).toEqual(
      matrix((row, column) => {
        const i = [1, 5].indexOf(column);
        return i < 0 ? valueOf(row, column) : own(row, i);
      }),
    );
  });

  it('has one block of whole rows', () => {
    const whole = { ...weight, groupSize: -1, classes: 1, classOf: new Uint8Array(OUT * IN) };
    expect(toFloats(whole)).toEqual(
      matrix((row, column) => {
        const { [row]: mean } = weight.mean;
        return mean! + weight.scale[row]! * (weight.signs[row * IN + column] ? 1 : -1);
      }),
    );
  });
});

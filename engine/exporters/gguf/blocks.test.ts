import { describe, expect, it } from 'vitest';
import { createRandom } from '../../data/random.js';
import { formOf, type WeightForm } from '../../quantized/form.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import {
  q2_K,
  q3_K,
  q4_0,
  q4_1,
  q4_K,
  q5_1,
  q5_K,
  q6_K,
  q8_0,
  type BlockType,
} from '../../formats/gguf/blocks.js';
import { decodeWeight, encodeWeight, typeFor } from './weights.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex').replace(/../g, '$& ').trim();
const valuesOf = (type: BlockType, bytes: Uint8Array) => {
  const out = new Float32Array(type.elements);
  type.decode(bytes, out);
  return out;
};
const codes = (count: number) => Uint8Array.from({ length: count }, (_, j) => (5 * j + 2) % 16);

describe('the layout of blocks, as ggml reads it', () => {
  it('of Q4_1', () => {
    const out = new Uint8Array(20);
    q4_1.encode({ codes: codes(32), scale: Float32Array.of(0.0375), zero: Float32Array.of(6) }, out);
    expect(hex(out)).toBe('cd 28 33 b3 22 77 cc 11 66 bb 00 55 aa ff 44 99 ee 33 88 dd');
    expect([...valuesOf(q4_1, out).slice(0, 4)].map((x) => x.toFixed(8))).toEqual([
      '-0.14996338',
      '0.03756714',
      '0.22509766',
      '-0.18746948',
    ]);
  });

  it('of Q4_K', () => {
    // d 0.0375/63, dmin 0.232/63; counts 63 and 49, offsets 61 and 63, four sub-blocks each.
    const bytes = new Uint8Array(144);
    bytes.set(Buffer.from('e0108b1bfffffffffdfdfdfdf1f1f1f1', 'hex'));
    const nibbles = codes(256);
    for (let i = 0; i < 256; i++) bytes[16 + 32 * (i >> 6) + (i & 31)]! |= nibbles[i]! << (i & 32 ? 4 : 0);
    expect(hex(bytes.subarray(16, 24))).toBe('22 77 cc 11 66 bb 00 55');
    const values = valuesOf(q4_K, bytes);
    const expected = [
      [0, -0.14968681, 0.03776741, 0.22522163, -0.18717766],
      [128, -0.17371559, -0.02791786, 0.11787987, -0.20287514],
    ] as const;
    for (const [at, ...known] of expected)
      known.forEach((value, i) => expect(values[at + i]).toBeCloseTo(value, 6));
  });
});

const levelsOf = (bits: number) => 2 ** bits - 1;

/** Rows of normal weights rounded to nearest, and those weights. */
function rounded(bits: number, columns: number, groupSize: number, halves = false, rows = 24) {
  const random = createRandom(7, 'weights', bits, columns, groupSize);
  const size = groupSize === -1 ? columns : groupSize;
  const weights = Float32Array.from({ length: rows * columns }, () => 0.02 * random.normal());
  const groups = Math.ceil(columns / size);
  const [scale, zero] = [new Float32Array(rows * groups), new Float32Array(rows * groups)];
  const parts = halves ? 2 : 1;
  const codes = new Uint8Array(weights.length);
  for (let row = 0, g = 0; row < rows; row++)
    for (let start = 0; start < columns; start += size, g++) {
      const at = row * columns + start;
      const own = weights.subarray(at, row * columns + Math.min(start + size, columns));
      const [low, high] = [0.9 * Math.min(...own), 0.9 * Math.max(...own)];
      scale[g] = (high - low) / levelsOf(bits);
      zero[g] = Math.round((-low / scale[g]!) * parts) / parts;
      own.forEach((w, i) => {
        codes[at + i] = Math.max(0, Math.min(levelsOf(bits), Math.round(w / scale[g]! + zero[g]!)));
      });
    }
  const weight: GridWeight = {
    kind: 'grid',
    shape: [rows, columns],
    bits,
    codes,
    groupSize,
    scale,
    zero,
  };
  return { weight, weights };
}

const squares = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0);

describe('weights on grids', () => {
  it.each<[string, number, number, number, boolean, BlockType, number, boolean]>([
    ['2 bits in groups', 2, 512, 128, false, q2_K, 3e-3, false],
    ['2 bits with half zero points', 2, 512, 128, true, q2_K, 3e-3, false],
    ['2 bits in short rows', 2, 96, -1, false, q4_0, 1e-5, true],
    ['2 bits with half zero points in short rows', 2, 96, -1, true, q4_0, 1e-5, true],
    ['3 bits in groups', 3, 512, 128, false, q3_K, 0.02, false],
    ['3 bits in short rows', 3, 352, 32, false, q4_0, 1e-5, true],
    ['3 bits with half zero points', 3, 512, 128, true, q4_K, 1e-3, false],
    ['4 bits in groups', 4, 512, 128, false, q4_K, 2e-3, false],
    ['4 bits in short rows', 4, 96, -1, false, q4_1, 1e-4, true],
    ['5 bits in rows', 5, 512, -1, false, q5_K, 1e-3, true],
    ['5 bits in short rows', 5, 96, -1, false, q5_1, 5e-4, true],
    ['6 bits in rows', 6, 512, -1, false, q6_K, 0.06, false],
    ['6 bits in short rows', 6, 96, -1, false, q8_0, 1e-3, true],
    ['6 bits with half zero points', 6, 512, -1, true, q8_0, 1e-3, true],
    ['7 bits', 7, 512, -1, false, q8_0, 4e-3, true],
    ['8 bits', 8, 512, -1, false, q8_0, 0.05, false],
  ])('of %s', (_, bits, columns, groupSize, halves, type, most, isExact) => {
    const { weight, weights } = rounded(bits, columns, groupSize, halves);
    expect(typeFor(formOf(weight))).toEqual({ type, isOnGrid: true, isExact });
    const floats = toFloats(weight);
    const stored = decodeWeight(encodeWeight(weight, type, true), type);
    expect(squares(stored, floats) / squares(floats, weights)).toBeLessThan(most);
    if (!isExact) return;
    // Rounding of float16, of steps and of what is subtracted from them.
    const worst = Math.max(...stored.map((x, i) => Math.abs(x - floats[i]!)));
    expect(worst).toBeLessThanOrEqual(2 ** -10 * levelsOf(bits) * Math.max(...weight.scale));
  });

  it('that leave zero on one side are rounded again', () => {
    const { weight } = rounded(4, 256, -1, false, 2);
    const shifted = { ...weight, zero: Float32Array.of(-3, 20) };
    const floats = toFloats(shifted);
    const stored = decodeWeight(encodeWeight(shifted, q4_K, true), q4_K);
    const worst = Math.max(...stored.map((x, i) => Math.abs(x - floats[i]!)));
    expect(worst).toBeLessThan(0.7 * Math.max(...weight.scale));
  });

  it('of no scale at all are zeros', () => {
    const zeros = { ...rounded(3, 256, 128, false, 1).weight, scale: new Float32Array(2) };
    for (const type of [q2_K, q3_K, q4_K, q5_K, q6_K, q4_0, q4_1, q5_1, q8_0])
      expect(new Set(decodeWeight(encodeWeight(zeros, type, true), type)).has(NaN)).toBe(false);
  });
});

it('what is on no grid of consecutive columns is rounded to 8 bits', () => {
  const grid: WeightForm = { kind: 'grid', in: 64, out: 2, bits: 2, groupSize: 32 };
  const binary: WeightForm = { kind: 'binary', in: 64, out: 2, groupSize: -1, classes: 2, second: 0 };
  for (const form of [
    { ...grid, outliers: 1 },
    { ...grid, ordered: true },
    { ...grid, apart: { elements: 3, groups: 2, bits: 2, zeroBits: 2 } },
    { ...grid, groupSize: 24 },
    binary,
  ])
    expect(typeFor(form)).toEqual({ type: q8_0, isOnGrid: false, isExact: false });
  expect(typeFor({ ...grid, in: 40 }).type.name).toBe('F16');
  const { weight } = rounded(2, 64, 32);
  const kept = { rows: Uint32Array.of(0), columns: Uint32Array.of(5), values: Float32Array.of(0.5) };
  const outliers = { ...weight, outliers: kept };
  const stored = decodeWeight(encodeWeight(outliers, q8_0, typeFor(formOf(outliers)).isOnGrid), q8_0);
  expect(stored[5]).toBeCloseTo(0.5, 3);
  expect(Math.max(...stored.map((x, i) => Math.abs(x - toFloats(outliers)[i]!)))).toBeLessThan(0.5 / 127);
});

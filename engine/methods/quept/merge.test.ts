import { describe, expect, it } from 'vitest';
import { evaluate, maxDifference } from '../../../test/support.js';
import { hasOwnStreams, mergeTokens, mergeWeights, tokenSimilarity } from './merge.js';
import { normals, rowsOf } from '../../execution/testing.js';

const [BATCH, TOKENS, FEATURES] = [3, 4, 5];
const ROWS = BATCH * TOKENS;
const outputs = ['high', 'middle', 'low'].map((name) => normals([ROWS, FEATURES], name));
const WEIGHTS = [0.3, 0.3, 0.4];

/** Merges the outputs of three groups and says of each token whether it was kept, mixed, or neither. */
async function merged(
  keep: number,
  score?: readonly number[],
  weights = WEIGHTS,
  groups = outputs,
): Promise<string> {
  const inputs = Object.fromEntries(groups.map((x, g) => [`x${g}`, x]));
  if (score) inputs.score = { shape: [ROWS, 1], data: Float32Array.from(score) };
  const found = await evaluate(inputs, (v) => ({
    merged: mergeTokens(
      groups.map((_, g) => v[`x${g}`]!),
      weights,
      BATCH,
      keep,
      v.score,
    ),
  }));
  const rows = rowsOf({ shape: [ROWS, FEATURES], data: found.merged! });
  const [first, all] = [rowsOf(groups[0]!), groups.map(rowsOf)];
  const word = rows.map((row, t) => {
    if (row.every((x, i) => x === first[t]![i])) return 'K';
    const mixed = row.map((_, i) => all.reduce((sum, group, g) => sum + weights[g]! * group[t]![i]!, 0));
    return maxDifference(Float32Array.from(row), Float32Array.from(mixed)) < 1e-6 ? 'm' : '?';
  });
  return word.join('').replace(/.{4}(?=.)/g, '$& ');
}

describe('mergeTokens', () => {
  const score = [4, 3, 2, 1, 0.1, 0.4, 0.3, 0.2, -5, -8, -7, -6];

  it.each([
    [0, 'mmmm mmmm mmmm'],
    [1, 'Kmmm mKmm Kmmm'],
    [2, 'KKmm mKKm KmmK'],
    [3, 'KKKm mKKK KmKK'],
    [4, 'KKKK KKKK KKKK'],
  ])('keeps the %i tokens of highest score in each sample, not across samples', async (keep, expected) => {
    expect(await merged(keep, score)).toBe(expected);
  });

  it('mixes every token without a score', async () => {
    expect(await merged(2)).toBe('mmmm mmmm mmmm');
  });

  it('keeps all that score the same as the last one kept', async () => {
    expect(await merged(2, [1, 1, 1, 0, 2, 1, 1, 0, 0, 0, 0, 0])).toBe('KKKm KKKm KKKK');
  });

  it('takes other numbers of groups, with their weights', async () => {
    expect(await merged(1, score, [0.5, 0.5], outputs.slice(0, 2))).toBe('Kmmm mKmm Kmmm');
    expect(await merged(1, score, [1], outputs.slice(0, 1))).toBe('KKKK KKKK KKKK');
  });
});

describe('tokenSimilarity', () => {
  it('is the cosine of corresponding tokens', async () => {
    const [a, b] = [outputs[0]!, outputs[2]!];
    const { y } = await evaluate({ a, b }, (v) => ({ y: tokenSimilarity(v.a!, v.b!) }));
    const expected = rowsOf(a).map((row, t) => {
      const other = rowsOf(b)[t]!;
      const dot = (x: number[], z: number[]) => x.reduce((sum, v, i) => sum + v * z[i]!, 0);
      return dot(row, other) / Math.sqrt(dot(row, row) * dot(other, other));
    });
    expect(maxDifference(y!, Float32Array.from(expected))).toBeLessThan(1e-6);
  });

  it('is 0 where a token is 0, and does not depend on size', async () => {
    const a = { shape: [3, 2], data: Float32Array.of(0, 0, 1e-3, 0, 1e6, 1e6) };
    const b = { shape: [3, 2], data: Float32Array.of(1, 2, 1e3, 0, -3, -3) };
    const { y } = await evaluate({ a, b }, (v) => ({ y: tokenSimilarity(v.a!, v.b!) }));
    [0, 1, -1].forEach((expected, t) => expect(y![t]).toBeCloseTo(expected, 6));
  });
});

it('weighs three groups as the paper has it, and others evenly', () => {
  expect(mergeWeights(3)).toEqual([0.3, 0.3, 0.4]);
  expect(mergeWeights(4)).toEqual([0.25, 0.25, 0.25, 0.25]);
  for (const groups of [1, 2, 3, 4, 5, 6, 7])
    expect(mergeWeights(groups).reduce((a, b) => a + b)).toBeCloseTo(1, 12);
});

it('knows the modes in which groups have streams of their own', () => {
  expect((['selective', 'uniform', 'random', 'off', 'drawn'] as const).filter(hasOwnStreams)).toEqual([
    'off',
    'drawn',
  ]);
});

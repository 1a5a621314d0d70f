import { describe, expect, it } from 'vitest';
import { differencesFrom, formatDifference, referencesOf } from './differences.js';
import { metricsOf } from './metrics.js';
import type { Difference, EvaluationRow } from '../../engine/protocol/protocol.js';
import { sortRows } from './table.js';
import { full, rounding, row } from './testing.js';

const TASK = 'image-classification';
const less = (label: string, kind: EvaluationRow['kind'], more: Partial<Difference>): Difference => ({
  label,
  kind,
  ...more,
});
const rows = [
  full,
  rounding(8, 0.87),
  row('a', 8, 0.88, { against: [less('rounding', 'baseline', { score: 0.01, scoreError: 0.004 })] }),
  // A set may be called as the baseline is.
  row('rounding', 8, 0.86, {
    against: [
      less('rounding', 'baseline', { score: -0.01, scoreError: 0.02, kl: -0.001, klError: 0.0001 }),
      less('a', 'adapters', { score: -0.02 }),
    ],
  }),
];

describe('referencesOf', () => {
  it('has each row that others are held against once, told apart by kind and label', () => {
    expect(referencesOf(rows).map(({ kind, label }) => [kind, label])).toEqual([
      ['baseline', 'rounding'],
      ['adapters', 'a'],
    ]);
    expect(referencesOf([full, rounding(8, 0.87)])).toEqual([]);
  });
});

describe('differencesFrom', () => {
  const [baseline, set] = referencesOf(rows);

  it('has the rows that are held against it, with differences for scores', () => {
    expect(differencesFrom(rows, baseline!, TASK)).toEqual([
      { ...row('a', 8, 0.01), scoreError: 0.004 },
      { ...row('rounding', 8, -0.01), scoreError: 0.02, kl: -0.001, klError: 0.0001 },
    ]);
    expect(differencesFrom(rows, set!, TASK)).toEqual([row('rounding', 8, -0.02)]);
  });

  it('is sorted by the differences', () => {
    const sorted = sortRows(differencesFrom(rows, baseline!, TASK), { column: 'top1', descending: false });
    expect(sorted.map(({ label }) => label)).toEqual(['rounding', 'a']);
  });

  it('is written to the second digit of the error, marked where it is more than chance', () => {
    const found = differencesFrom(rows, baseline!, TASK);
    const [top1, kl] = metricsOf(found, TASK);
    const cells = found.flatMap((one) => [top1!, kl!].map((metric) => formatDifference(one, metric, 'en')));
    expect(cells).toEqual(['+1.00% ±0.40% *', '–', '-1.0% ±2.0%', '-0.00100 ±0.00010 *']);
    expect(formatDifference(row('rounding', 8, -0.02), top1!, 'en')).toBe('-2.00%');
    expect(formatDifference(row('same', 8, 0, { scoreError: 0 }), top1!, 'de')).toBe('0,00\u00a0%');
  });
});

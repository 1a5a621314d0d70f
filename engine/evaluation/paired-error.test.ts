import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { pairedError, withDistances, type Scored } from './paired-error.js';
import type { EvaluationRow } from '../protocol/protocol.js';

describe('pairedError', () => {
  it('is that of differences, not of scores', () => {
    expect(pairedError([1, 2, 30], [0, 2, 31])).toBeCloseTo(Math.sqrt(2 / 6), 12);
    expect(pairedError([5, 70, -3], [4, 69, -4])).toBeUndefined();
    expect(pairedError([0.1, 0.7], [0, 0.6])).toBeUndefined();
  });

  it('of right and wrong answers is √((b + c − (b − c)² / n) / (n(n − 1))), b and c being those that differ', () => {
    const [own, full] = [[1, 1, 1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 1, 0, 0]]; // prettier-ignore
    expect(pairedError(own, full)).toBeCloseTo(Math.sqrt((3 - 1 / 8) / 56), 12);
  });

  it('is what the mean difference varies by from one set of samples to the next', () => {
    const random = createRandom(3, 'draws');
    const draws = Array.from({ length: 2000 }, () => {
      const full = Array.from({ length: 40 }, () => 10 * random.next());
      const own = full.map((score) => score + random.next());
      const mean = own.reduce((sum, score, i) => sum + score - full[i]!, 0) / 40;
      return { mean, error: pairedError(own, full)! };
    });
    const center = draws.reduce((sum, { mean }) => sum + mean, 0) / draws.length;
    const spread = Math.sqrt(draws.reduce((sum, { mean }) => sum + (mean - center) ** 2, 0) / draws.length);
    const error = draws.reduce((sum, draw) => sum + draw.error, 0) / draws.length;
    expect(error / spread).toBeCloseTo(1, 1);
  });

  it('is unknown from one sample', () => {
    expect(pairedError([1], [2])).toBeUndefined();
  });
});

describe('withDistances', () => {
  const scored = (
    label: string,
    bits: EvaluationRow['bits'],
    right: readonly number[],
    kl: readonly number[] = [],
  ): Scored => {
    const kind = label === 'full' || label === 'adapters' ? label : 'baseline';
    const mean = (of: readonly number[]) => of.reduce((sum, x) => sum + x, 0) / of.length;
    return {
      row: {
        label,
        kind,
        bits,
        bytes: 1,
        samples: 4,
        top1: mean(right),
        ...(kl.length && { kl: mean(kl) }),
      },
      samples: { score: right, kl },
    };
  };
  const full = scored('full', 'fp', [1, 1, 0, 1]);
  const coarse = scored('rounding', 3, [1, 0, 0, 0], [4, 5, 6, 7]);
  const finer = scored('rounding', 4, [1, 1, 0, 0], [2, 3, 4, 5]);

  it('leaves full precision as it is, and gives others their error against it', () => {
    expect(withDistances(full, [])).toEqual(full.row);
    expect(withDistances(coarse, [full])).toEqual({
      ...coarse.row,
      scoreError: pairedError([1, 0, 0, 0], [1, 1, 0, 1]),
    });
  });

  it('holds an adapter set against what has the same bits and came before it, samples paired', () => {
    const set = scored('adapters', 3, [1, 0, 1, 1], [1, 1, 3, 3]);
    expect(withDistances(set, [full, coarse, finer]).against).toEqual([
      {
        ...{ label: 'rounding', kind: 'baseline', score: 0.5, kl: -3.5 },
        scoreError: Math.sqrt((2 - 4 / 4) / 12),
        klError: Math.sqrt((9 + 16 + 9 + 16 - 14 ** 2 / 4) / 12),
      },
    ]);
    expect(withDistances(finer, [full, coarse])).not.toHaveProperty('against');
    expect(withDistances(finer, [full, scored('gptq', 4, [1, 1, 1, 1])])).not.toHaveProperty('against');
  });

  it('leaves out what cannot be told: scores that are missing or NaN, errors of one sample', () => {
    const one = (top1: number | undefined): Scored => ({
      row: {
        label: 'a',
        kind: 'adapters',
        bits: 3,
        bytes: 1,
        samples: 1,
        ...(top1 !== undefined && { top1 }),
      },
      samples: { score: top1 === undefined ? [] : [top1] },
    });
    expect(withDistances(one(0), [full, one(1)]).against).toEqual([
      { label: 'a', kind: 'adapters', score: -1 },
    ]);
    expect(withDistances(one(NaN), [full, one(1)]).against).toEqual([{ label: 'a', kind: 'adapters' }]);
    expect(withDistances(one(undefined), [full, one(1)]).against).toEqual([{ label: 'a', kind: 'adapters' }]);
  });
});

import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { pairedError } from './paired-error.js';

describe('pairedError', () => {
  it('is that of differences, not of scores', () => {
    expect(pairedError([1, 2, 30], [0, 2, 31])).toBeCloseTo(Math.sqrt(2 / 6), 12);
    expect(pairedError([5, 70, -3], [4, 69, -4])).toBe(0);
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

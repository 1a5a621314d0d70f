import { describe, expect, it } from 'vitest';
import type { GridWeight } from '../../quantized/weight.js';
import { averageLayout, LEVEL, thresholdFor } from './averages.js';

describe('codes and groups of an average', () => {
  it.each([
    [2.1, undefined, { bits: 2, groupSize: 128 }],
    [2.3, undefined, { bits: 2, groupSize: 64 }],
    [2.7, undefined, { bits: 2, groupSize: 16 }],
    // 3 bits in groups of 128 take 3.08.
    [3, undefined, { bits: 2, groupSize: 16 }],
    [3.3, undefined, { bits: 3, groupSize: 64 }],
    [2.3, 128, { bits: 2, groupSize: 128 }],
  ])('%d in groups of %s', (average, groupSize, expected) => {
    expect(averageLayout(average, groupSize)).toEqual(expected);
  });

  it('are refused where there is no room', () => {
    expect(() => averageLayout(2)).toThrow(/^SpQR has averages above 2.08 bits, not 2\.$/);
    expect(() => averageLayout(2.3, 16)).toThrow(
      /^SpQR has averages above 2.63 bits in groups of 16, not 2.3/,
    );
  });
});

describe('the threshold of an average', () => {
  const [OUT, IN] = [64, 128];
  const weight = (outliers: number): GridWeight => {
    const statistic = {
      bits: 3,
      codes: new Uint8Array(),
      step: new Float32Array(),
      start: new Float32Array(),
    };
    return {
      kind: 'grid',
      shape: [OUT, IN],
      bits: 2,
      codes: new Uint8Array(),
      groupSize: 64,
      scale: new Float32Array(),
      zero: new Float32Array(),
      level: { rows: LEVEL.rows, scale: statistic, zero: statistic },
      outliers: {
        rows: new Uint32Array(outliers),
        columns: new Uint32Array(outliers),
        values: new Float32Array(outliers),
      },
    };
  };
  const least = 2.15625;

  it.each([0.01, 0.3, 8])(
    'leaves as many outliers as there is room for, from a scale of %d on',
    async (scale) => {
      const countAt = (threshold: number) => Math.floor(OUT * IN * Math.exp(-threshold / scale));
      let rounds = 0;
      const [found] = (await thresholdFor(2.3, (threshold) => {
        rounds++;
        return Promise.resolve([weight(countAt(threshold))]);
      })) as [GridWeight];
      const average = least + (32 * found.outliers!.values.length) / (OUT * IN);
      expect(average).toBeLessThanOrEqual(2.3);
      expect(average).toBeGreaterThan(2.29);
      expect(rounds).toBeLessThanOrEqual(12);
    },
  );

  it('leaves none where every threshold leaves too many', async () => {
    const all = (threshold: number) => Promise.resolve([weight(threshold === Number.MAX_VALUE ? 0 : 500)]);
    const [found] = (await thresholdFor(2.3, all)) as [GridWeight];
    expect(found.outliers!.values).toHaveLength(0);
  });
});

import { describe, expect, it } from 'vitest';
import { metricsOf } from './metrics.js';
import { bestWithin, chartable, rowKey, sizesOf, smallestWithin } from './series.js';
import { full, rounding, row } from './testing.js';

const rows = [
  full,
  rounding(4, 0.87),
  rounding(2, 0.59),
  row('b', 4, 0.872),
  row('a', 2, 0.85),
  row('a', 4, 0.875),
];
const [top1, kl] = metricsOf(rows, 'image-classification');

describe('chartable', () => {
  it('makes a series of each model, baselines first, points from low to high bit-widths', () => {
    const { full: reference, series } = chartable(rows, top1!);
    expect(reference).toBe(full);
    expect(series.map(({ label, look, points }) => [label, look, points.map((p) => p.bits)])).toEqual([
      ['rounding', 0, [2, 4]],
      ['b', 0, [4]],
      ['a', 1, [2, 4]],
    ]);
  });

  it('places points at what their weights take on average, where that is told', () => {
    const told = [
      row('a', 2, 0.8, { method: 'oac', averageBits: 2.14 }),
      row('b', 2.1, 0.82, { averageBits: 2.1 }),
    ];
    const { series } = chartable([...told, row('c', 2, 0.7)], top1!);
    expect(series.map(({ method, points }) => [method, points[0]!.bits, points[0]!.average])).toEqual([
      ['oac', 2, 2.14],
      [undefined, 2.1, 2.1],
      [undefined, 2, 2],
    ]);
  });

  it('keeps a set named as a baseline apart from it', () => {
    const { series } = chartable([rounding(4, 0.8), row('rounding', 4, 0.9)], top1!);
    expect(series.map((s) => s.kind)).toEqual(['baseline', 'adapters']);
  });

  it('leaves out what is not a value', () => {
    const broken = [row('a', 2, NaN), row('a', 3, Infinity), row('a', 4, 0.8)];
    expect(chartable(broken, top1!).series[0]!.points.map((p) => p.bits)).toEqual([4]);
    expect(
      chartable(
        [
          { ...full, kl: 0 },
          { ...row('a', 4, 0.8), kl: 0.02 },
        ],
        kl!,
      ).full,
    ).toBeUndefined();
    expect(chartable(rows, kl!).series.every((s) => s.points.length === 0)).toBe(true);
  });
});

describe('the smallest model within a loss', () => {
  it('is within points of a share', () => {
    expect(rowKey(smallestWithin(rows, top1!, 0.01)!)).toBe('adapters/4/a');
    expect(smallestWithin([full, row('a', 2, 0.85)], top1!, 0.01)).toBeUndefined();
    expect(smallestWithin([full, row('a', 2, 0.85)], top1!, 0.05)?.bits).toBe(2);
    expect(smallestWithin([row('a', 2, 0.85)], top1!, 0.01)).toBeUndefined();
  });

  it('is none that was measured on other samples than full precision', () => {
    const early = { ...row('a', 2, 0.99), samples: full.samples - 1 };
    expect(smallestWithin([full, early], top1!, 0.01)).toBeUndefined();
    expect(smallestWithin([full, { ...early, samples: full.samples }], top1!, 0.01)?.bits).toBe(2);
  });

  it('is within a share of a perplexity', () => {
    const text = [
      { ...full, perplexity: 40 },
      { ...row('a', 4, 0), perplexity: 40.3 },
      { ...row('a', 3, 0), perplexity: 41 },
    ];
    const perplexity = metricsOf(text, 'perplexity')[0]!;
    expect(perplexity.key).toBe('perplexity');
    expect(smallestWithin(text, perplexity, 0.01)?.bits).toBe(4);
    expect(smallestWithin(text, perplexity, 0.03)?.bits).toBe(3);
  });
});

describe('the best model within a size', () => {
  const own = [full, row('a', 8, 0.87), row('a', 4, 0.86), row('b', 4, 0.865), row('c', 3, 0.87)];

  it('is the best of those that are as small', () => {
    expect(rowKey(bestWithin(own, top1!, row('a', 4, 0).bytes)!)).toBe('adapters/3/c');
    expect(rowKey(bestWithin(own.slice(0, -1), top1!, row('a', 4, 0).bytes)!)).toBe('adapters/4/b');
    expect(bestWithin(own, top1!, 1)).toBeUndefined();
  });

  it('is the smaller of two that are as good, and no exported file', () => {
    expect(rowKey(bestWithin(own, top1!, full.bytes)!)).toBe('adapters/3/c');
    const file = row('f', 2, 0.88, { kind: 'exported' });
    expect(rowKey(bestWithin([...own, file], top1!, full.bytes)!)).toBe('adapters/3/c');
  });

  it('may be of as many sizes as there are', () => {
    expect(sizesOf(own, top1!)).toEqual([3, 4, 8].map((bits) => row('a', bits, 0).bytes));
  });
});

import { describe, expect, it } from 'vitest';
import { metricsOf } from './metrics.js';
import { bestTrade, chartable, rowKey } from './series.js';
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

describe('bestTrade', () => {
  it('is the smallest within a point of full precision', () => {
    expect(rowKey(bestTrade(rows, top1!)!)).toBe('adapters/4/a');
    expect(bestTrade([full, row('a', 2, 0.85)], top1!)).toBeUndefined();
    expect(bestTrade([row('a', 2, 0.85)], top1!)).toBeUndefined();
  });

  it('is none that was measured on other samples than full precision', () => {
    const early = { ...row('a', 2, 0.99), samples: full.samples - 1 };
    expect(bestTrade([full, early], top1!)).toBeUndefined();
    expect(bestTrade([full, { ...early, samples: full.samples }], top1!)?.bits).toBe(2);
  });

  it('is within a percent for a perplexity', () => {
    const text = [
      { ...full, perplexity: 40 },
      { ...row('a', 4, 0), perplexity: 40.3 },
      { ...row('a', 3, 0), perplexity: 41 },
    ];
    const perplexity = metricsOf(text, 'perplexity')[0]!;
    expect(perplexity.key).toBe('perplexity');
    expect(bestTrade(text, perplexity)?.bits).toBe(4);
  });
});

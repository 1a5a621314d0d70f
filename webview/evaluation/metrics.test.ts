import { describe, expect, it } from 'vitest';
import { fill } from '../common/text.js';
import { formatCell, formatMetric, metricsOf } from './metrics.js';
import { full, row } from './testing.js';

const [top1, kl] = metricsOf([full], 'image-classification');
const perplexity = metricsOf([{ ...full, perplexity: 38 }], 'perplexity')[0]!;

describe('metricsOf', () => {
  it('lists what occurs, the main one first', () => {
    expect(metricsOf([row('a', 4, 0.5), full], 'image-classification').map((m) => m.key)).toEqual([
      'top1',
      'kl',
    ]);
    expect(metricsOf([{ ...full, perplexity: 1 }], 'perplexity').map((m) => m.key)[0]).toBe('perplexity');
    expect(metricsOf([], 'perplexity')).toEqual([]);
  });
});

describe('formatMetric', () => {
  it('writes shares as percent', () => {
    expect(formatMetric(top1!, 0.8772, 'en')).toBe('87.72%');
    expect(formatMetric(top1!, 1, 'de')).toBe('100,00\u00a0%');
  });

  it('writes small divergences so that they can be told apart', () => {
    expect([0.0000612, 0.00087, 0.155, 0].map((v) => formatMetric(kl!, v, 'en'))).toEqual([
      '0.00006',
      '0.00087',
      '0.15500',
      '0.00000',
    ]);
    expect(formatMetric(kl!, 4.2e-6, 'en')).toBe('4e-6');
  });

  it('writes perplexities, and a dash for what is not one', () => {
    expect([38.634, 12345.6, Infinity, NaN].map((v) => formatMetric(perplexity, v, 'en'))).toEqual([
      '38.63',
      '12,345.60',
      '–',
      '–',
    ]);
  });
});

it('fills texts', () => {
  expect(fill('{1} of {0}, {0}', 'a', 2)).toBe('2 of a, a');
  expect(fill('{0} {3}', 'a')).toBe('a {3}');
});

describe('formatCell', () => {
  it('writes the error behind the main score, and nothing but a dash where there is no score', () => {
    const one = row('a', 4, 0.5, { kl: 0.1, scoreError: 0.00123 });
    const cell = (metric = top1!) => formatCell(one, metric, 'image-classification', 'en');
    expect([cell(), cell(kl), cell(perplexity)]).toEqual(['50.00% ±0.12%', '0.10000', '–']);
    expect(formatCell(full, top1!, 'image-classification', 'en')).toBe('88.00%');
    expect(formatCell({ ...full, kl: 0 }, kl!, 'image-classification', 'en')).toBe('–');
    const error = (scoreError: number) =>
      formatCell(row('a', 4, 0.5, { scoreError }), top1!, 'image-classification', 'en');
    expect([0.02, 0.00996, 0.25, 0].map(error)).toEqual([
      '50.00% ±2.0%',
      '50.00% ±1.0%',
      '50.00% ±25%',
      '50.00%',
    ]);
  });
});

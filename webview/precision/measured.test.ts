import { expect, it } from 'vitest';
import { formatMeasured } from './measured.js';

const measured = (metric: 'top1' | 'perplexity', value: number, error?: number) =>
  formatMeasured(
    {
      metric,
      value,
      full: value,
      bits: [4],
      samples: 10,
      seconds: 1,
      ...(error === undefined ? {} : { error }),
    },
    'en',
  );

it('writes a score with its error to the second digit of that, in the same unit', () => {
  expect(measured('top1', 0.896, 0.0022)).toBe('89.60% ±0.22%');
  expect(measured('top1', 0.9, 0.02)).toBe('90.00% ±2.0%');
  expect(measured('perplexity', 38.6262, 0.0123)).toBe('38.626 ±0.012');
});

it('writes no error where there is none', () => {
  expect(measured('top1', 0.896)).toBe('89.60%');
  expect(measured('top1', 0.896, 0)).toBe('89.60%');
});

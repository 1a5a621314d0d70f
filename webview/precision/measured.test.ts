import { expect, it } from 'vitest';
import { besideMeasured, formatMeasured } from './measured.js';
import type { Measurement, Strings } from './protocol.js';

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

it('stands beside full precision, and beside the divergence where that is not what was measured', () => {
  const strings = { kl: 'KL', measuredFull: 'full {0}', measuredFullKl: 'full {0} · KL {1}' } as Strings;
  const beside = (more: Partial<Measurement>) =>
    besideMeasured(
      { metric: 'perplexity', value: 41.4, full: 40.6, bits: [4], samples: 10, seconds: 1, ...more },
      strings,
      'en',
    );
  expect(beside({})).toBe('full 40.600');
  expect(beside({ kl: 0.02 })).toMatch(/^full 40\.600 · KL 0\.02/);
  expect(beside({ metric: 'top1', value: 0.89, full: 0.897 })).toBe('full 89.70%');
  expect(beside({ metric: 'kl', kl: 0.02 })).toBe('KL');
});

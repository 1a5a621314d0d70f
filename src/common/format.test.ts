import { describe, expect, it } from 'vitest';
import {
  formatBits,
  formatBytes,
  formatCount,
  formatDuration,
  formatLoss,
  formatProgress,
} from './format.js';

describe('format', () => {
  it('sizes', () => {
    expect([0, 999, 1000, 4_812_345, 12_345_678, 999_600].map((n) => formatBytes(n, 'en'))).toEqual([
      '0 B',
      '999 B',
      '1 kB',
      '4.81 MB',
      '12.3 MB',
      '1 MB',
    ]);
    expect(formatBytes(4_812_345, 'de')).toBe('4,81 MB');
  });

  it('counts', () => {
    expect([12, 1_234_567, 7_000_000_000].map((n) => formatCount(n, 'en'))).toEqual(['12', '1.2 M', '7 B']);
  });

  it('durations', () => {
    expect([0.2, 59, 60, 95, 3599, 3600, 4800, 86400].map(formatDuration)).toEqual([
      '1 s',
      '59 s',
      '1 min',
      '2 min',
      '1 h',
      '1 h',
      '1 h 20 min',
      '24 h',
    ]);
  });

  it('shares that never claim to be done', () => {
    const shares = [0, 0.429, 0.999, 1, -1].map((share) => formatProgress(share, 'en'));
    expect(shares).toEqual(['0%', '42%', '99%', '100%', '0%']);
    expect(formatProgress(0.29, 'de')).toBe('29\u00a0%');
  });

  it('bit-widths in runs', () => {
    const sets = [[4, 5, 6, 7, 8], [8, 4, 2], [8, 7, 4], [3], [1, 2.3, 4, 8], [1.3, 2.3, 3.3], [1.084]];
    expect(sets.map((bits) => formatBits(bits, 'en'))).toEqual([
      ...['8–4', '8, 4, 2', '8, 7, 4', '3', '8, 4, 2.3, 1', '3.3, 2.3, 1.3', '1.08'],
    ]);
  });

  it('losses', () => {
    expect([0, 0.123456, 0.00001234].map((n) => formatLoss(n, 'en'))).toEqual(['0', '0.123', '1.23e-5']);
  });
});

import { describe, expect, it } from 'vitest';
import { formatBytes, formatBytesUp } from './numbers.js';

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1 kB'],
    [263_168, '263 kB'],
    [999_499, '999 kB'],
    [999_600, '1 MB'],
    [4_812_345, '4.81 MB'],
    [12_345_678, '12.3 MB'],
    [7e9, '7 GB'],
    [5e15, '5,000 TB'],
  ])('%s', (bytes, text) => expect(formatBytes(bytes, 'en')).toBe(text));

  it('follows the locale', () => {
    expect(formatBytes(4_812_345, 'de')).toBe('4,81 MB');
  });
});

it.each([
  [0, '0 B'],
  [7, '7 B'],
  [600_001, '601 kB'],
  [600_000, '600 kB'],
  [999_001, '1 MB'],
  [3_001_000, '3.01 MB'],
  [12_345_678, '12.4 MB'],
  [1_234_000_001, '1.24 GB'],
])('%s bytes, rounded up, are %s', (bytes, text) => expect(formatBytesUp(bytes, 'en')).toBe(text));

import { describe, expect, it } from 'vitest';
import { formatBytes, inByteUnit } from './numbers.js';

describe('formatBytes', () => {
  it.each([
    [0, '0 B', '0 B'],
    [999, '999 B', '999 B'],
    [1000, '1 kB', '1 kB'],
    [263_168, '263 kB', '263 kB'],
    [999_499, '999 kB', '999 kB'],
    [999_600, '1 MB', '1 MB'],
    [4_812_345, '4.8 MB', '4.81 MB'],
    [12_345_678, '12 MB', '12.3 MB'],
    [7e9, '7 GB', '7 GB'],
    [5e15, '5,000 TB', '5,000 TB'],
  ])('%s', (bytes, two, three) => {
    expect(formatBytes(bytes, 2, 'en')).toBe(two);
    expect(formatBytes(bytes, 3, 'en')).toBe(three);
  });

  it('follows the locale', () => {
    expect(formatBytes(4_812_345, 2, 'de')).toBe('4,8 MB');
  });
});

it('inByteUnit goes by what will be written', () => {
  const toOneDecimal = (value: number) => Number(value.toFixed(1));
  expect(inByteUnit(999_940, toOneDecimal).unit).toBe('kB');
  expect(inByteUnit(999_950, toOneDecimal).unit).toBe('MB');
});

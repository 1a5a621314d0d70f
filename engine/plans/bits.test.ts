import { describe, expect, it } from 'vitest';
import { decodeBits, encodeBits, sameBits } from './bits.js';

describe('encodeBits', () => {
  it.each([
    ['whole bit-widths', [2, 3, 4, 5, 6, 7, 8]],
    ['fractions of a bit', [1, 2.3, 4, 8]],
    ['one', [1.08]],
    ['more than there are digits and letters', Array.from({ length: 71 }, (_, i) => 1 + i / 10)],
  ])('writes one character per layer, and is read as it was: %s', (_, offered) => {
    const bits = Array.from({ length: 100 }, (_, i) => offered[(i * 7) % offered.length]!);
    const text = encodeBits(bits, offered);
    expect(text).toHaveLength(bits.length);
    expect(decodeBits(JSON.parse(JSON.stringify(text)) as string, offered)).toEqual(bits);
  });

  it('names places among the offered ones, and tells bits apart that are not offered', () => {
    expect(encodeBits([2.3, 8, 1, 5], [1, 2.3, 4, 8])).toBe('130/');
  });
});

it('tells plans apart', () => {
  expect(sameBits([1, 2.3], [1, 2.3])).toBe(true);
  expect(sameBits([1, 2.3], [1, 2])).toBe(false);
  expect(sameBits([1], [1, 1])).toBe(false);
});

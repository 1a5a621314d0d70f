import { describe, expect, it } from 'vitest';
import { scrollTo, windowOf } from './window.js';

describe('windowOf', () => {
  it.each([
    ['the beginning', 0, [0, 15]],
    ['the middle', 1000, [95, 115]],
    ['the end', 9900, [985, 1000]],
    ['beyond the end', 20_000, [1000, 1000]],
    ['before the beginning', -50, [0, 10]],
  ])('at %s', (_, top, expected) => expect(windowOf({ top, height: 100 }, 10, 1000, 5)).toEqual(expected));

  it('holds no more than there is', () =>
    expect(windowOf({ top: 0, height: 100 }, 10, 3, 5)).toEqual([0, 3]));
});

describe('scrollTo', () => {
  const view = { top: 100, height: 50 };
  it.each([
    ['above', 2, 20],
    ['in view', 10, undefined],
    ['the last in view', 14, undefined],
    ['below', 15, 110],
  ])('a line %s', (_, index, top) => expect(scrollTo(view, 10, index)).toBe(top));

  it('nothing, where no line can be seen yet: the first picture is of the beginning', () =>
    expect(scrollTo({ top: 0, height: 0 }, 10, 0)).toBeUndefined());
});

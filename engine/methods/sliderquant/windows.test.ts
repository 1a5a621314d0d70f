import { expect, it } from 'vitest';
import { WINDOWS } from './settings.js';
import { windowsOf } from './windows.js';

it.each([1, 2, 3, 4, 5, 6, 7, 13, 32])(
  'every one of %i blocks is in a window, and windows go on',
  (blocks) => {
    for (const windows of WINDOWS)
      for (const fill of [1, 2, 4, 9]) {
        const spans = windowsOf(blocks, { windows, fill });
        const trained = new Set(
          spans.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i)),
        );
        expect([...trained].sort((a, b) => a - b)).toEqual(Array.from({ length: blocks }, (_, i) => i));
        for (const [i, [first, last]] of spans.entries()) {
          expect(last).toBeLessThan(blocks);
          // What the next window reads lies behind blocks of this one.
          const [next = blocks] = spans[i + 1] ?? [];
          expect(next).toBeGreaterThanOrEqual(first);
          expect(next).toBeLessThanOrEqual(last + 1);
          expect(last - first + 1).toBeLessThanOrEqual(windows === 'growing' ? Math.max(fill, 2) : 2);
        }
      }
  },
);

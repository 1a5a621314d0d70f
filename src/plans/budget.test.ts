import { describe, expect, it } from 'vitest';
import { formatBytesUp } from '../../engine/plans/numbers.js';
import { parseBudget, roundedUp, usualBudget, usualSize } from './budget.js';

describe('parseBudget', () => {
  it.each([
    ['average-bits', '3.5', 3.5],
    ['average-bits', ' 3,5 bits', 3.5],
    ['average-bits', '3 MB', undefined],
    ['average-bits', '0', undefined],
    ['bytes', '1.2GB', 1.2e9],
    ['bytes', '700 kB', 7e5],
    ['bytes', '700', undefined],
    ['bytes', '1.2.3 GB', undefined],
    ['bytes', '', undefined],
  ] as const)('%s of %s is %s', (kind, text, value) => expect(parseBudget(kind, text)).toBe(value));
});

it.each([
  [2, 2],
  [1.08, 1.08],
  [1.0837, 1.09],
])('%s bits are at most the %s that are written', (bits, written) => expect(roundedUp(bits)).toBe(written));

it.each([
  [2, [2, 4, 8], 3.5],
  [1.08, [1.08, 2.3], 1.69],
  [4, [4, 8], 6],
  [4, [4], 4],
])('from %s of %s bits, %s are offered first', (least, offered, budget) =>
  expect(usualBudget(least, offered)).toBe(budget),
);

it.each([
  [344e3, 1.2e6, 4.8e6],
  [2_999_999, 3_900_000, 4.8e6],
  [604_123, 604_123, 5.48e6],
  [10_011, 10_049, 4e6],
])('the size that is proposed from %s to %s bytes is one that is accepted', (least, most, full) => {
  const proposed = parseBudget('bytes', formatBytesUp(usualSize(least, most, full), 'en'))!;
  expect(proposed).toBeGreaterThanOrEqual(least);
  const smallest = parseBudget('bytes', formatBytesUp(least, 'en'))!;
  expect(smallest).toBeGreaterThanOrEqual(least);
});

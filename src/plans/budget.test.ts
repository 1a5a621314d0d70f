import { describe, expect, it } from 'vitest';
import { parseBudget, roundedUp, usualBudget } from './budget.js';

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

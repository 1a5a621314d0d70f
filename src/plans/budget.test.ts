import { describe, expect, it } from 'vitest';
import { parseBudget } from './budget.js';

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

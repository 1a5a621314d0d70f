import { expect, it } from 'vitest';
import { fullNameOf, methodOf, nameOf } from './names.js';
import { full, rounding, row } from './testing.js';

const words = { view: { methods: { oac: 'OAC', rounding: 'Rounding' } }, strings: { fullPrecision: 'Full' } };

it('names baselines by the titles of their methods, and sets by their own names with the method behind', () => {
  const set = row('mine', 2.1, 0.8, { method: 'oac' });
  expect([full, rounding(4, 0.8), set].map((one) => nameOf(one, words))).toEqual([
    'Full',
    'Rounding',
    'mine',
  ]);
  expect([full, rounding(4, 0.8), set].map((one) => methodOf(one, words))).toEqual(['–', 'Rounding', 'OAC']);
  expect(fullNameOf(set, words)).toBe('mine · OAC');
  expect(fullNameOf(row('old', 2, 0.8), words)).toBe('old');
  const several = { ...rounding(4, 0.8), label: 'rounding (weights only)' };
  expect(nameOf(several, words)).toBe('Rounding (weights only)');
});

it('goes by the name of a method whose title is not known', () => {
  expect(fullNameOf(row('mine', 2.1, 0.8, { method: 'oac' }), { ...words, view: {} })).toBe('mine · oac');
});

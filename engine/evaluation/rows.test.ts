import { expect, it } from 'vitest';
import { requireFinite } from './rows.js';

it.each([NaN, Infinity, -Infinity])('a model that yields %s is an error, named by its row', (value) => {
  const logits = Float32Array.of(1, value, 2);
  expect(() => requireFinite(logits, { label: 'elastic', bits: 2.3 })).toThrow(
    'elastic at 2.3 bits yields numbers that are not finite, and cannot be scored; leave it out.',
  );
  expect(() => requireFinite(logits, { label: 'full', bits: 'fp' })).toThrow('The model in full precision');
});

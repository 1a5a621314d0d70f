import { expect, it } from 'vitest';
import { likeliest } from './likeliest.js';

it('tells nothing from numbers that are not finite', () => {
  expect(() => likeliest(Float32Array.of(1, NaN, 2))).toThrow('The model yields numbers that are not finite');
});

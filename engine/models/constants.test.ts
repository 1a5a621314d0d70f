import { expect, it, vi } from 'vitest';
import { Graph } from '../graph/ir.js';
import { lazyConstant } from './constants.js';

it('is computed when first asked for, and stored once in each graph', () => {
  const compute = vi.fn(() => new Float32Array(100));
  const constant = lazyConstant([10, 10], compute);
  expect(compute).not.toHaveBeenCalled();
  const [first, second] = [new Graph(), new Graph()];
  expect(constant(first)).toBe(constant(first));
  expect(constant(second)).not.toBe(constant(first));
  expect(constant(second).shape).toEqual([10, 10]);
  expect([first.constants.size, second.constants.size]).toEqual([1, 1]);
  expect(compute).toHaveBeenCalledTimes(1);
});

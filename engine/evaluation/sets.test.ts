import { expect, it } from 'vitest';
import { baselineWidths, widthsOf } from './sets.js';

const request = { model: '/m', data: '/d' };

it('baselines have rows at whole bit-widths', () => {
  const asked = { ...request, bits: [2.3, 8, 4, 1.08], baseline: ['rounding'] };
  expect(widthsOf(asked, [])).toEqual([8, 4, 2.3, 1.08]);
  expect(baselineWidths(widthsOf(asked, []))).toEqual([8, 4]);
});

it.each([
  [[], /Say which bit-widths/],
  [[2.3], /A baseline rounds to whole bits, and has nothing beside 2\.3/],
])('baselines at %s bits alone are refused', (bits, message) => {
  expect(() => widthsOf({ ...request, bits, baseline: ['rounding'] }, [])).toThrow(message);
});

it('bit-widths with nothing to quantize are refused', () => {
  expect(() => widthsOf({ ...request, bits: [8, 2.3] }, [])).toThrow('Nothing is quantized to 8, 2.3 bits');
  expect(widthsOf({ ...request, bits: [] }, [])).toEqual([]);
  expect(widthsOf(request, [])).toEqual([]);
});

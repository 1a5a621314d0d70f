import { describe, expect, it } from 'vitest';
import { outlineOf, TINY_LLAMA, TINY_VIT } from '../../test/fixtures.js';
import { UserError } from '../errors.js';
import type { EstimateRequest, Mode } from '../protocol/protocol.js';
import type { Outline } from '../transforms/transform.js';
import { methods } from './registry.js';
import { resolveRequest } from './request.js';
import { methodsFor } from './usual.js';

const vit = outlineOf('vit', TINY_VIT);
const llama = outlineOf('llama', TINY_LLAMA);

describe('a request of a calibration', () => {
  const methodOf = (outline: Outline, request: Partial<EstimateRequest> = {}) =>
    resolveRequest(outline, { model: '/model', ...request }).method.name;

  it('that names no method is of the usual one of the model', () => {
    expect(methodOf(vit)).toBe('quept');
    expect(methodOf(llama)).toBe('direct');
    expect(() => methodOf(llama, { method: 'magic' })).toThrow(
      `There is no calibration method "magic"; there are ${methods.map(({ name }) => name).join(', ')}`,
    );
  });

  it('that names no method is of the first that has the mode and the recipe', () => {
    const has = (outline: Outline, mode: Mode) =>
      methodsFor(outline).find((method) => method.modes(outline).includes(mode))!.name;
    for (const outline of [vit, llama])
      for (const mode of ['weight-only', 'weight-activation'] as const)
        expect(methodOf(outline, { mode })).toBe(has(outline, mode));
    expect(methodOf(llama, { recipe: 'paper' })).toBe('quept');
    expect(methodOf(llama, { recipe: 'paper', mode: 'weight-activation' })).toBe('quept');
    expect(() => methodOf(llama, { recipe: 'soup' })).toThrow(
      'The method "direct" has no recipe "soup"; it has default.',
    );
  });

  it.each<[string, Omit<EstimateRequest, 'model'>, RegExp]>([
    [
      'an option that the method does not have',
      { method: 'rounding', options: { surprise: 1 } },
      /options of rounding: there is no "surprise"/,
    ],
    [
      'a recipe that it does not have',
      { method: 'rounding', recipe: 'soup' },
      /no recipe "soup"; it has default\.$/,
    ],
    [
      'data that nothing is calibrated on',
      { method: 'rounding', data: '/data' },
      /"rounding" needs no samples for weight-only: leave --data out/,
    ],
    [
      'samples that nothing is calibrated on',
      { method: 'rounding', samples: 3 },
      /"rounding" needs no samples for weight-only: leave --samples out/,
    ],
  ])('is refused with %s, in one line', (_, asked, message) => {
    const resolve = () => resolveRequest(llama, { model: '/model', ...asked });
    expect(resolve).toThrow(UserError);
    expect(resolve).toThrow(message);
    expect(resolve).not.toThrow(/\n/);
  });
});

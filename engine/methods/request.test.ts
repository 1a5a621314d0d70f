import { describe, expect, it } from 'vitest';
import { outlineOf, TINY_LLAMA, TINY_VIT } from '../../test/fixtures.js';
import { UserError } from '../errors.js';
import type { EstimateRequest } from '../protocol/protocol.js';
import { methods } from './registry.js';
import { methodOf, resolveRequest } from './request.js';

const vit = outlineOf('vit', TINY_VIT);
const llama = outlineOf('llama', TINY_LLAMA);

describe('a request of a calibration', () => {
  it('is of the first method where it names none', () => {
    expect(methodOf({})).toBe(methods[0]);
    expect(resolveRequest(vit, { model: '/model' }).method).toBe(methods[0]);
    expect(() => methodOf({ method: 'magic' })).toThrow(
      `There is no calibration method "magic"; there are ${methods.map(({ name }) => name).join(', ')}`,
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

import { describe, expect, it } from 'vitest';
import { outlineOf, TINY_LLAMA, TINY_VIT } from '../../../test/fixtures.js';
import { UserError } from '../../errors.js';
import type { EstimateRequest } from '../../protocol/protocol.js';
import type { Outline } from '../../transforms/transform.js';
import { resolveRequest } from '../request.js';
import type { QueptSettings } from './method.js';
import { bitGroups } from './options.js';

const vit = outlineOf('vit', TINY_VIT);
const llama = outlineOf('llama', TINY_LLAMA);

type Asked = Omit<EstimateRequest, 'model'>;
const settingsOf = (more: Asked, model = vit) =>
  resolveRequest(model, { model: '/model', method: 'quept', ...more }).settings as QueptSettings;
const groupsOf = (more: Asked) => settingsOf(more).groups.map((g) => g.bits);

describe('a request of a calibration by QuEPT', () => {
  it('groups bit-widths in pairs from the top, and offers them all', () => {
    expect(groupsOf({ bits: [4, 8, 6, 6] })).toEqual([[6, 8], [4]]);
    expect(groupsOf({ bits: [2, 3, 4, 5, 6, 7, 8] })).toEqual([[7, 8], [5, 6], [3, 4], [2]]);
    expect(settingsOf({ bits: [4, 8, 6, 6] }).offered).toEqual([8, 6, 4]);
  });

  it('takes groups as they are, but not beside bit-widths', () => {
    const options = { groups: [[8], [2, 4]] };
    expect(groupsOf({ options })).toEqual(options.groups);
    expect(settingsOf({ options }).offered).toEqual([8, 4, 2]);
    expect(() => groupsOf({ options, bits: [8] })).toThrow(UserError);
  });

  it('has a recipe for each mode of text, and one for pictures', () => {
    const modes = [undefined, 'weight-only', 'weight-activation'] as const;
    const recipes = modes.map((mode) => settingsOf({ ...(mode && { mode }), recipe: 'paper' }, llama));
    expect(recipes.map((o) => [o.mode, o.rotate, o.activations])).toEqual([
      ['weight-only', false, 'static'],
      ['weight-only', false, 'static'],
      ['weight-activation', true, 'dynamic'],
    ]);
    expect(recipes[2]!.groups).toEqual(bitGroups([[7, 8], [5, 6], [4]], [64, 128, 192]));
    expect(recipes[2]).toMatchObject({ rates: { lora: 7e-5, clip: 1e-1 }, groupSize: -1, kvBits: 16 });
    expect(settingsOf({ mode: 'weight-activation' }).activations).toBe('static');
    expect(() => settingsOf({ mode: 'weight-only' })).toThrow(/is for language models/);
  });

  it('takes rotation and cache from the options', () => {
    const mode = 'weight-activation';
    const asked = settingsOf({ mode, options: { rotation: 'off', kvBits: 4 } }, llama);
    expect(asked).toMatchObject({ rotate: false, kvBits: 4 });
  });

  it('has the recipe for everything that is not given, and what is given for the rest', () => {
    const standard = settingsOf({});
    const options = { epochs: 3, batch: 4, guard: 'off', smooth: 'on', rateClip: 0.5, loss: 'mse' };
    expect(settingsOf({ samples: 7, seed: 5, options })).toEqual({
      ...standard,
      ...{ samples: 7, seed: 5, epochs: 3, batch: 4, guard: false, smooth: true, loss: 'mse' },
      rates: { ...standard.rates, clip: 0.5 },
    });
  });

  const both = { mode: 'weight-activation' } as const;
  it.each<[string, Asked, Outline, RegExp]>([
    ['a recipe that there is not', { recipe: 'soup' }, vit, /no recipe "soup"; it has default, paper\.$/],
    [
      'an option that there is not',
      { options: { surprise: 1 } },
      vit,
      /options of quept: there is no "surprise"/,
    ],
    ['an option out of its range', { options: { keep: 2 } }, vit, /options of quept: "keep" must be/],
    ['a bit-width of 9', { bits: [9] }, vit, /bit-widths from 2 to 8, not 9/],
    ['an average bit-width', { bits: [2.3] }, vit, /bit-widths from 2 to 8, not 2\.3/],
    ['too few ranks', { bits: [8, 4], options: { rank: [1, 2, 3] } }, vit, /need as many ranks, not 3/],
    [
      'kept tokens where none are',
      { options: { keep: 0.5 } },
      vit,
      /--keep would have no effect: with --merge drawn/,
    ],
    [
      'kept tokens of a merge that keeps none',
      { options: { keep: 0.5, merge: 'uniform' } },
      vit,
      /--keep would have no effect: with --merge uniform/,
    ],
    [
      'a cache of pictures',
      { options: { kvBits: 4 } },
      vit,
      /--kv-bits would have no effect: .*"vit" keep no keys/,
    ],
    ['a cache of weights alone', { options: { kvBits: 4 } }, llama, /cache needs the mode weight-activation/],
    [
      'a rotation of pictures',
      { options: { rotation: 'off' } },
      vit,
      /--rotation would have no effect: .*"vit"/,
    ],
    [
      'no rotation where there is none',
      { options: { rotation: 'off' } },
      llama,
      /--rotation would have no effect: only weights are quantized/,
    ],
    [
      'a rate of scales of weights alone',
      { options: { rateScale: 0.1 } },
      llama,
      /--rate-scale would have no effect: only weights are quantized/,
    ],
    [
      'a rate of scales of activations per token',
      { ...both, options: { rateScale: 0.1 } },
      llama,
      /--rate-scale would have no effect: activations are quantized per token/,
    ],
  ])('is refused with %s, in one line', (_, asked, model, message) => {
    const resolve = () => settingsOf(asked, model);
    expect(resolve).toThrow(UserError);
    expect(resolve).toThrow(message);
    expect(resolve).not.toThrow(/\n/);
  });

  it('is taken where the option has an effect', () => {
    expect(settingsOf({ options: { keep: 0.25, merge: 'selective' } }).keep).toBe(0.25);
    expect(settingsOf({ options: { rateScale: 0.25 } }).rates.scale).toBe(0.25);
    expect(settingsOf({ ...both, options: { kvBits: 4, rotation: 'on' } }, llama).kvBits).toBe(4);
  });
});

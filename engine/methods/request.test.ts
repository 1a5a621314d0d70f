import { describe, expect, it } from 'vitest';
import { UserError } from '../../errors.js';
import { bitGroups } from '../../methods/quept/options.js';
import { resolveOptions } from './calibrate.js';

const request = { model: '/model', data: '/data', out: '/out' };
const groupsOf = (more: Parameters<typeof resolveOptions>[0]) =>
  resolveOptions(more).groups.map((g) => g.bits);

describe('resolveOptions', () => {
  it('groups bit-widths in pairs from the top', () => {
    expect(groupsOf({ ...request, bits: [4, 8, 6, 6] })).toEqual([[6, 8], [4]]);
    expect(groupsOf({ ...request, bits: [2, 3, 4, 5, 6, 7, 8] })).toEqual([[7, 8], [5, 6], [3, 4], [2]]);
  });

  it('takes groups as they are, but not beside bit-widths', () => {
    const groups = [[8], [2, 4]];
    expect(groupsOf({ ...request, groups })).toEqual(groups);
    expect(() => resolveOptions({ ...request, groups, bits: [8] })).toThrow(UserError);
  });

  it('has a recipe for each mode of text, and one for pictures', () => {
    const modes = [undefined, 'weight-only', 'weight-activation'] as const;
    const recipes = modes.map((mode) =>
      resolveOptions({ ...request, ...(mode && { mode }), recipe: 'paper' }, 'text-generation'),
    );
    expect(recipes.map((o) => [o.mode, o.rotate, o.activations])).toEqual([
      ['weight-only', false, 'static'],
      ['weight-only', false, 'static'],
      ['weight-activation', true, 'dynamic'],
    ]);
    expect(recipes[2]!.groups).toEqual(bitGroups([[7, 8], [5, 6], [4]], [64, 128, 192]));
    expect(recipes[2]).toMatchObject({ rates: { lora: 7e-5, clip: 1e-1 }, groupSize: -1, kvBits: 16 });
    expect(resolveOptions({ ...request, mode: 'weight-activation' }).activations).toBe('static');
    expect(() => resolveOptions({ ...request, mode: 'weight-only' })).toThrow(/is for language models/);
  });

  it('takes rotation and cache from the request', () => {
    const mode = 'weight-activation';
    const asked = resolveOptions({ ...request, mode, rotation: 'off', kvBits: 4 }, 'text-generation');
    expect(asked).toMatchObject({ rotate: false, kvBits: 4 });
  });
});

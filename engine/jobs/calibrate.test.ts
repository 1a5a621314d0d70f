import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
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
});

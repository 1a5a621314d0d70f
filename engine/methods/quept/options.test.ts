import { describe, expect, it } from 'vitest';
import { UserError } from '../../errors.js';
import {
  bitGroups,
  checkOptions,
  DEFAULT_VIT,
  DEFAULT_TEXT,
  defaultGroups,
  PAPER_VIT,
  parseBits,
  parseGroups,
  ranksOf,
  type QueptOptions,
} from './options.js';

describe('parseBits', () => {
  it.each([
    ['4-8', [8, 7, 6, 5, 4]],
    ['8-4', [8, 7, 6, 5, 4]],
    ['2,4,8', [8, 4, 2]],
    [' 4 , 6 - 8 ', [8, 7, 6, 4]],
    ['3', [3]],
    ['5,5,4-6', [6, 5, 4]],
  ])('reads "%s"', (text, bits) => expect(parseBits(text)).toEqual(bits));

  it.each([
    '',
    ',',
    '4,',
    '1-4',
    '4-9',
    '0',
    '16',
    '-4',
    '4-',
    '4--8',
    '4.5',
    '4..8',
    'fp',
    '4-8-2',
    '1e1',
    '+4',
  ])('refuses "%s"', (text) => {
    expect(() => parseBits(text)).toThrow(UserError);
    expect(() => parseBits(text)).toThrow(`"${text}" is not a list of bit-widths; write 4-8 or 2,4,8`);
  });
});

describe('parseGroups', () => {
  it('reads groups from high to low', () => {
    expect(parseGroups('7,8/5-6/4')).toEqual([[7, 8], [5, 6], [4]]);
    expect(parseGroups('8')).toEqual([[8]]);
  });

  it.each(['', '/', '8//4', '8/', '8|4'])('refuses "%s"', (text) =>
    expect(() => parseGroups(text)).toThrow(UserError),
  );
});

it.each([
  ['4-8', [[7, 8], [5, 6], [4]]],
  ['2-8', [[7, 8], [5, 6], [3, 4], [2]]],
  ['5-8', [[7, 8], [6], [5]]],
  ['2,4,8', [[4, 8], [2]]],
  ['4,8', [[4, 8]]],
  ['6', [[6]]],
])('groups %s by default with the lowest bit-width alone where there are more', (text, groups) => {
  expect(defaultGroups(parseBits(text))).toEqual(groups);
});

it.each([
  ['2-8', [[7, 8], [5, 6], [4], [3], [2]]],
  [
    '5-8',
    [
      [7, 8],
      [5, 6],
    ],
  ],
  ['3-4', [[4], [3]]],
])('bit-widths %s fall into groups apart', (text, groups) => {
  expect(defaultGroups(parseBits(text), 'all')).toEqual(groups);
});

it('a group that trains only its own directions has more of them', () => {
  const groups = [[7, 8], [5, 6], [4], [3], [2]];
  expect(ranksOf(groups, 16, 'none')).toEqual([16, 32, 48, 64, 80]);
  expect(ranksOf(groups, 16, 'lowest')).toEqual([16, 32, 48, 64, 112]);
  expect(ranksOf(groups, 16, 'all')).toEqual(DEFAULT_TEXT.groups.map(({ rank }) => rank));
});

describe('bitGroups', () => {
  it('adds as many directions a group, or takes their ends as given', () => {
    expect(bitGroups([[8, 7], [5, 6], [4]], 16).map((g) => g.rank)).toEqual([16, 32, 48]);
    expect(bitGroups([[8, 7], [4]], [0, 5]).map((g) => [g.bits, g.rank])).toEqual([[[7, 8], 0], [[4], 5]]); // prettier-ignore
  });
});

describe('checkOptions', () => {
  const group = (bits: number[], rank = 16) => ({ bits, rank, gain: 1 });
  const check = (change: Partial<QueptOptions>) => () => checkOptions({ ...PAPER_VIT, ...change });

  it('accepts the recipes, and what lies at the edges', () => {
    expect(check({})).not.toThrow();
    expect(check(DEFAULT_VIT)).not.toThrow();
    expect(
      check({
        groups: [group([8], 0), group([2], 1)],
        mergeWeights: [0, 1],
        keep: 0,
        rates: { lora: 0, clip: 0, scale: 9.9 },
      }),
    ).not.toThrow();
    expect(
      check({
        groups: [group([2, 3, 4, 5, 6, 7, 8])],
        mergeWeights: [1],
        keep: 1,
        samples: 1,
        batch: 1,
        epochs: 1,
      }),
    ).not.toThrow();
  });

  const two = (...groups: QueptOptions['groups']) => ({ groups, mergeWeights: [0.5, 0.5] });
  it.each<[string, Partial<QueptOptions>, RegExp]>([
    ['no group', { groups: [], mergeWeights: [] }, /every bit group needs a bit-width/],
    ['an empty group', two(group([8]), group([])), /every bit group needs a bit-width/],
    ['1 bit', two(group([8]), group([1])), /from 2 to 8/],
    ['9 bits', two(group([9]), group([4])), /from 2 to 8/],
    ['half a bit', two(group([8]), group([4.5])), /whole numbers from 2 to 8/],
    ['groups from low to high', two(group([4]), group([8])), /go from high to low/],
    ['a bit-width in two groups', two(group([7, 8]), group([6, 7])), /share no bit-width/],
    ['groups that interleave', two(group([5, 8]), group([6])), /go from high to low/],
    ['falling ranks', two(group([8], 16), group([4], 8)), /ranks are whole numbers that do not fall/],
    ['a negative rank', two(group([8], -1), group([4], 8)), /ranks are whole numbers/],
    ['half a direction', two(group([8], 1.5), group([4], 8)), /ranks are whole numbers/],
    ['no directions for the last group', two(group([8], 0), group([4], 0)), /the last above 0/],
    ['too few merge weights', { mergeWeights: [0.5, 0.5] }, /3 bit groups need as many merge weights, not 2/],
    ['merge weights of another sum', { mergeWeights: [0.3, 0.3, 0.3] }, /must add up to 1/],
    ['merge weights that are not numbers', { mergeWeights: [NaN, 0.5, 0.5] }, /must add up to 1/],
    ['too large a share', { keep: 1.1 }, /between 0 and 1/],
    ['a share that is not a number', { keep: NaN }, /between 0 and 1/],
    ['no samples', { samples: 0 }, /"samples" must be a positive whole number/],
    ['half an epoch', { epochs: 0.5 }, /"epochs"/],
    ['an endless batch', { batch: Infinity }, /"batch"/],
    ['a cache of 1 bit', { kvBits: 1 }, /keys and values are kept at 2 to 8 bits/],
    ['a cache without activations', { mode: 'weight-only', kvBits: 4 }, /a quantized cache needs the mode/],
    ['a rotation of weights alone', { mode: 'weight-only', rotate: true }, /a rotation needs the mode/],
    ['a negative rate', { rates: { lora: -1, clip: 0, scale: 0 } }, /learning rates/],
    ['a rate that is not a number', { rates: { lora: NaN, clip: 0, scale: 0 } }, /learning rates/],
  ])('refuses %s', (_, change, message) => {
    expect(check(change)).toThrow(UserError);
    expect(check(change)).toThrow(message);
  });
});

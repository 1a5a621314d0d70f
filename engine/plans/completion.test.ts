import { describe, expect, it } from 'vitest';
import { completionsAt, layersAt } from './completion.js';
import { applyEdits } from './edit.js';
import { parsePlan } from './plan.js';

const layers = ['b.0.q', 'b.0.k', 'b.1.q', 'b.1.k', 'b.1.gate'].map((name) => ({
  name,
  block: name.slice(0, 3),
}));

/** What is offered where `|` stands. */
function at(marked: string, valid = '{ "default": 4 }') {
  const offset = marked.indexOf('|');
  const text = marked.replace('|', '');
  const found = completionsAt(text, offset, layers, [1.08, 4, 8], parsePlan(valid).plan);
  const take = (value: string | number) => {
    const { range, text: put, lacksValue, behind } = found.find((one) => one.value === value)!;
    return applyEdits(text, [{ ...range, text: `${put}${lacksValue ? ': 4' : ''}${behind}` }]);
  };
  return { values: found.map(({ value }) => value), found, take };
}

describe('completion of a plan', () => {
  it.each([
    ['in quotes', '{ "default": 4, "layers": { "|" } }'],
    ['without them', '{ "default": 4, "layers": { | } }'],
    ['where the text ends', '{ "default": 4, "layers": { "|'],
  ])('offers patterns and names of layers as keys, %s', (_, text) => {
    expect(at(text).values).toEqual([
      ...['**.q', '**.k', 'b.0.**', 'b.1.**'],
      ...['b.0.q', 'b.0.k', 'b.1.q', 'b.1.k', 'b.1.gate'],
    ]);
  });

  it('says which layers a pattern has', () => {
    const { found } = at('{ "default": 4, "layers": { | } }');
    expect(found.slice(0, 4).map((one) => one.layers)).toEqual([
      [0, 2],
      [1, 3],
      [0, 1],
      [2, 3, 4],
    ]);
  });

  it('leaves out what is named already, but for the key that is being changed', () => {
    const before = '{ "default": 4, "layers": { "b.0.q": 8, "b.1.k": 4 } }';
    expect(at(before.replace('"b.1.k', '"b.1|.k'), before).values).not.toContain('b.0.q');
    expect(at(before.replace('"b.1.k', '"b.1|.k'), before).values).toContain('b.1.k');
  });

  it('replaces the whole key, writes what is missing behind it, and makes a plan of the text', () => {
    const valid = (text: string) => parsePlan(text).plan?.layers;
    expect(valid(at('{ "default": 4, "layers": { "b.|" } }').take('b.0.q'))).toEqual({ 'b.0.q': 4 });
    expect(valid(at('{ "default": 4, "layers": { "b.|0": 8 } }').take('b.1.**'))).toEqual({ 'b.1.**': 8 });
    const before = at('{ "default": 4, "layers": { | "b.1.k": 8 } }');
    expect(valid(before.take('**.q'))).toEqual({ '**.q': 4, 'b.1.k': 8 });
  });

  it('offers the bit-widths there are, of the layers that they are for', () => {
    const value = at('{ "default": 4, "layers": { "*.1.*": | } }');
    expect(value.values).toEqual([8, 4, 1.08]);
    expect(value.found[0]!.layers).toEqual([2, 3, 4]);
    expect(value.take(8)).toBe('{ "default": 4, "layers": { "*.1.*": 8 } }');
    const rest = at('{ "default": 4|, "layers": {} }', '{ "default": 4, "layers": { "b.0.*": 8 } }');
    expect([rest.found[0]!.layers, rest.take(8)]).toEqual([[2, 3, 4], '{ "default": 8, "layers": {} }']);
  });

  it('offers nothing elsewhere', () => {
    for (const text of [
      '{ "|": 4 }',
      '{ "default": 4, "model": "|" }',
      '{ "default": 4, "layers": { "b.0.q": 4 | } }',
      '{ "default": 4, "layers": { "b.0.q": { "|" } } }',
      '|',
    ])
      expect(at(text).values, text).toEqual([]);
  });
});

it('finds the layers of a key', () => {
  const text = '{ "default": 4, "layers": { "b.0.*": 8, "b.1.q": 4, "gone": 4 } }';
  const found = (key: string) => layersAt(text, text.indexOf(key) + 1, layers)?.layers;
  expect([found('b.0.*'), found('b.1.q'), found('gone'), found('default')]).toEqual([
    ...[[0, 1], [2], [], undefined],
  ]);
});

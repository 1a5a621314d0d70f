import { describe, expect, it } from 'vitest';
import { applyEdits } from '../../engine/plans/edit.js';
import { editsOfChanges, editsOfDigits, newPlanText, readDocument, totalsOfPlan } from './document.js';
import { table } from './testing.js';

const plan = (layers: Record<string, number>) => JSON.stringify({ default: 4, layers }, undefined, 2);

describe('readDocument', () => {
  it('gives every layer a digit, and tells what is wrong with its place', () => {
    const text = plan({ 'b.0.*': 2, 'b.1.q': 8, 'c.*': 3 });
    const { digits, problems, broken } = readDocument(text, table);
    expect([digits, broken]).toEqual(['2284', undefined]);
    expect(problems.map(({ kind, offset }) => [kind, text.slice(offset, offset + 5)])).toEqual([
      ['layer', '"c.*"'],
    ]);
  });

  it('keeps the last plan while the text is not one', () => {
    const before = readDocument(plan({ 'b.0.q': 8 }), table);
    const after = readDocument('{ "default": 4, ', table, before);
    expect(after.digits).toBe('8444');
    expect(after.broken).toMatch(/not JSON/);
    expect(totalsOfPlan(after, table)).toBeUndefined();
    expect(readDocument(plan({}), table, after)).toMatchObject({ digits: '4444', broken: undefined });
  });

  it('has no digits without a table, and a digit for each when a text was never a plan', () => {
    expect(readDocument(plan({}), undefined).digits).toBe('');
    expect(readDocument('', table).digits).toBe('4444');
  });

  it('comes to totals', () => {
    expect(totalsOfPlan(readDocument(plan({ 'b.0.q': 8 }), table), table)).toEqual({
      averageBits: 5,
      bitsPerWeight: 5,
      bytes: 1000 + 105 + 3 * 55,
      cost: 0.01 + 0.2 + 0.3 + 0.4,
    });
  });
});

describe('edits', () => {
  const digitsAfter = (text: string, edits: Parameters<typeof applyEdits>[1]) =>
    readDocument(applyEdits(text, edits), table).digits;

  it('change the layers that they name, where the bits are offered', () => {
    const text = plan({ 'b.*.q': 2 });
    expect(
      digitsAfter(
        text,
        editsOfChanges(text, table, [
          [0, 8],
          [3, 2],
          [9, 2],
          [1, 5],
        ]),
      ),
    ).toBe('8422');
  });

  it('set all layers, and nothing where digits are missing or not offered', () => {
    const text = plan({ 'b.*.q': 2 });
    expect(digitsAfter(text, editsOfDigits(text, table, '8244'))).toBe('8244');
    expect(editsOfDigits(text, table, '824')).toEqual([]);
    expect(editsOfDigits(text, table, '8243')).toEqual([]);
  });
});

it('writes a new plan that can be read', () => {
  const text = newPlanText({ model: 'vit', adapters: 'vit/adapters/a' }, 4);
  expect(readDocument(text, table)).toMatchObject({ digits: '4444', problems: [], plan: { model: 'vit' } });
});

import { describe, expect, it } from 'vitest';
import { applyEdits } from '../../engine/plans/edit.js';
import { editsOfChanges, editsOfBits, newPlanText, readDocument, totalsOfPlan } from './document.js';
import { table } from './testing.js';

const plan = (layers: Record<string, number>) => JSON.stringify({ default: 4, layers }, undefined, 2);

describe('readDocument', () => {
  it('gives every layer its bits, and tells what is wrong with its place', () => {
    const text = plan({ 'b.0.*': 2, 'b.1.q': 8, 'c.*': 3 });
    const { bits, problems, broken } = readDocument(text, table);
    expect([bits, broken]).toEqual([[2, 2, 8, 4], undefined]);
    expect(problems.map(({ kind, offset }) => [kind, text.slice(offset, offset + 5)])).toEqual([
      ['layer', '"c.*"'],
    ]);
  });

  it('keeps the last plan while the text is not one', () => {
    const before = readDocument(plan({ 'b.0.q': 8 }), table);
    const after = readDocument('{ "default": 4, ', table, before);
    expect(after.bits).toEqual([8, 4, 4, 4]);
    expect(after.broken).toMatch(/not JSON/);
    expect(totalsOfPlan(after, table)).toBeUndefined();
    expect(readDocument(plan({}), table, after)).toMatchObject({ bits: [4, 4, 4, 4], broken: undefined });
  });

  it('has no bits without a table, and the offered ones next to 4 when a text was never a plan', () => {
    expect(readDocument(plan({}), undefined).bits).toEqual([]);
    expect(readDocument('', table).bits).toEqual([4, 4, 4, 4]);
    expect(readDocument('', { ...table, bits: [1.08, 2.3, 8] }).bits).toEqual([2.3, 2.3, 2.3, 2.3]);
  });

  it('takes fractions of a bit where they are offered', () => {
    const fractions = { ...table, bits: [1.08, 2.3, 4] };
    const { bits, problems } = readDocument(plan({ 'b.0.*': 1.08, 'b.1.q': 2 }), fractions);
    expect(bits).toEqual([1.08, 1.08, 2, 4]);
    expect(problems.map(({ kind }) => kind)).toEqual(['bits']);
  });

  it('comes to totals', () => {
    expect(totalsOfPlan(readDocument(plan({ 'b.0.q': 8 }), table), table)).toEqual({
      averageBits: 5,
      bytes: 1000 + 105 + 3 * 55,
      cost: 0.01 + 0.2 + 0.3 + 0.4,
    });
  });
});

describe('edits', () => {
  const bitsAfter = (text: string, edits: Parameters<typeof applyEdits>[1]) =>
    readDocument(applyEdits(text, edits), table).bits;

  it('change the layers that they name, where the bits are offered', () => {
    const text = plan({ 'b.*.q': 2 });
    expect(
      bitsAfter(
        text,
        editsOfChanges(text, table, [
          [0, 8],
          [3, 2],
          [9, 2],
          [1, 5],
        ]),
      ),
    ).toEqual([8, 4, 2, 2]);
  });

  it('set all layers, and nothing where bits are missing or not offered', () => {
    const text = plan({ 'b.*.q': 2 });
    expect(bitsAfter(text, editsOfBits(text, table, [8, 2, 4, 4]))).toEqual([8, 2, 4, 4]);
    expect(editsOfBits(text, table, [8, 2, 4])).toEqual([]);
    expect(editsOfBits(text, table, [8, 2, 4, 3])).toEqual([]);
  });

  it('write fractions of a bit as they are', () => {
    const fractions = { ...table, bits: [1.08, 2.3, 4] };
    const text = plan({});
    const after = applyEdits(text, editsOfBits(text, fractions, [1.08, 2.3, 4, 4]));
    expect(JSON.parse(after)).toEqual({ default: 4, layers: { 'b.0.q': 1.08, 'b.0.k': 2.3 } });
  });
});

it('writes a new plan that can be read', () => {
  const text = newPlanText({ model: 'vit', adapters: 'vit/adapters/a' }, 4);
  expect(readDocument(text, table)).toMatchObject({
    bits: [4, 4, 4, 4],
    problems: [],
    plan: { model: 'vit' },
  });
});

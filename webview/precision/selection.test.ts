import { describe, expect, it } from 'vitest';
import {
  extendTo,
  meaningOf,
  NOTHING,
  pick,
  selectedLines,
  selectOne,
  toggle,
  type Selection,
} from './selection.js';

const key = (name: string, more: { shift?: boolean; ctrl?: boolean } = {}) => ({
  key: name,
  shift: false,
  ctrl: false,
  ...more,
});
const after = (selection: Selection, ...keys: ReturnType<typeof key>[]) =>
  keys.reduce((now, one) => {
    const meaning = meaningOf(now, one, 10, 4);
    return meaning?.kind === 'select' ? meaning.selection : now;
  }, selection);

describe('meaningOf', () => {
  it.each([
    ['ArrowDown', [3]],
    ['ArrowUp', [1]],
    ['PageDown', [6]],
    ['PageUp', [0]],
    ['Home', [0]],
    ['End', [9]],
  ])('%s moves', (name, lines) => expect(selectedLines(after(selectOne(2), key(name)))).toEqual(lines));

  it('extends from where the range began, in both directions', () => {
    const down = key('ArrowDown', { shift: true });
    const up = key('ArrowUp', { shift: true });
    expect(selectedLines(after(selectOne(2), down, down))).toEqual([2, 3, 4]);
    expect(selectedLines(after(selectOne(2), down, up, up))).toEqual([1, 2]);
  });

  it('selects apart with control and space', () => {
    const ctrl = { ctrl: true };
    const now = after(selectOne(2), key('ArrowDown', ctrl), key('ArrowDown', ctrl), key(' ', ctrl));
    expect(selectedLines(now)).toEqual([2, 4]);
    expect(selectedLines(after(now, key('a', ctrl)))).toHaveLength(10);
    expect(selectedLines(after(now, key('Escape')))).toEqual([4]);
  });

  it('reads digits, steps, fills and pins', () => {
    const meaning = (...args: Parameters<typeof key>) => meaningOf(selectOne(1), key(...args), 10, 4);
    expect([meaning('1'), meaning('3')]).toEqual([
      { kind: 'digit', digit: 1 },
      { kind: 'digit', digit: 3 },
    ]);
    expect([meaning('0'), meaning('x'), meaning('s', { ctrl: true })]).toEqual(Array(3).fill(undefined));
    expect([meaning('ArrowRight'), meaning('ArrowLeft')]).toEqual([
      { kind: 'step', by: 1 },
      { kind: 'step', by: -1 },
    ]);
    expect([meaning('Enter'), meaning('d', { ctrl: true })]).toEqual([{ kind: 'fill' }, { kind: 'fill' }]);
    expect(meaning('p')).toEqual({ kind: 'pin' });
  });

  it('means nothing without lines', () => expect(meaningOf(NOTHING, key('ArrowDown'), 0, 4)).toBeUndefined());
});

it('picks by pointer', () => {
  const now = selectOne(5);
  expect(selectedLines(pick(now, 7, { shift: true, ctrl: false }))).toEqual([5, 6, 7]);
  expect(selectedLines(pick(now, 7, { shift: false, ctrl: true }))).toEqual([5, 7]);
  expect(selectedLines(pick(extendTo(now, 7), 2, { shift: false, ctrl: false }))).toEqual([2]);
  expect(selectedLines(toggle(selectOne(3), 3))).toEqual([3]);
});

import { describe, expect, it } from 'vitest';
import { frontierOf, tableOf } from '../../test/pages/precision-model.js';
import { bestWithin, chartLayout, indexOf, nearestAlong, someOf } from './frontier.js';
import { heatOf } from './heat.js';
import type { ShowTable, Strings, Table } from './protocol.js';
import { linesOf, shortBlock, type LineOptions } from './rows.js';
import { selectOne } from './selection.js';
import { changesOf, pressed, receive, togglePins, type State } from './state.js';

const table = tableOf(12);
const show = (own: Table = table): ShowTable => ({
  type: 'table',
  locale: 'en',
  strings: {} as Strings,
  title: '',
  subtitle: '',
  lacks: [],
  live: true,
  pinned: [],
  table: own,
});
const open = (
  bits: readonly number[] = Array<number>(12).fill(4),
  own = table,
  pinned: readonly string[] = [],
): State => receive(receive(undefined, { ...show(own), pinned }), { type: 'plan', bits, problems: [] })!;
const lines = (options: Partial<LineOptions>, bits = Array<number>(12).fill(4)) =>
  linesOf(table, bits, { filter: '', order: 'model', pinned: new Set(), ...options }).map((line) =>
    line.kind === 'block' ? line.block : line.layer,
  );

describe('linesOf', () => {
  it('has blocks before their layers, in the order of the model', () => {
    expect(lines({})).toEqual(['encoder.layer.0', 0, 1, 2, 3, 4, 5, 'encoder.layer.1', 6, 7, 8, 9, 10, 11]);
  });

  it('filters by every word, and leaves out blocks without a layer', () => {
    expect(lines({ filter: 'LAYER.1 query' })).toEqual(['encoder.layer.1', 6]);
    expect(lines({ filter: 'none' })).toEqual([]);
  });

  it('puts pinned layers first, and sorts the others', () => {
    expect(lines({ pinned: new Set([7]) }).slice(0, 3)).toEqual([7, 'encoder.layer.0', 0]);
    const bits = [4, 8, 4, 4, 2, 4, 4, 4, 4, 4, 4, 6];
    expect(lines({ order: 'bits', pinned: new Set([4]) }, bits).slice(0, 4)).toEqual([4, 1, 11, 0]);
  });
});

describe('layers that do not stand below their block', () => {
  const apart = (options: Partial<LineOptions>) =>
    linesOf(table, Array<number>(12).fill(4), {
      filter: '',
      order: 'model',
      pinned: new Set(),
      ...options,
    }).flatMap((line) => (line.kind === 'layer' && line.apart ? [line.layer] : []));

  it('are all that are sorted, and those that are pinned', () => {
    expect(apart({})).toEqual([]);
    expect(apart({ pinned: new Set([7]) })).toEqual([7]);
    expect(apart({ order: 'sensitivity' })).toHaveLength(12);
  });

  it('name it, as far as it tells blocks apart', () => {
    const named = (...blocks: string[]) => {
      const own = { ...table, layers: blocks.map((block) => ({ ...table.layers[0]!, block })) };
      return blocks.map((block) => shortBlock(own, block));
    };
    expect(named('vit.encoder.layer.0', 'vit.encoder.layer.11')).toEqual(['layer.0', 'layer.11']);
    expect(named('vision.layers.0', 'text.layers.0')).toEqual(['vision.layers.0', 'text.layers.0']);
    expect(named('model.layers.0')).toEqual(['layers.0']);
    expect(named('blocks')).toEqual(['blocks']);
  });
});

describe('pins', () => {
  it('of before are there again with the table, and stay when it is read anew', () => {
    const again = open(undefined, table, [table.layers[3]!.name, 'gone']);
    expect([...again.pinned]).toEqual([3]);
    expect(again.lines[0]).toEqual({ kind: 'layer', layer: 3, apart: true });
    const more = togglePins(again, [5]);
    expect([...receive(more, show(table))!.pinned]).toEqual([3, 5]);
  });
});

describe('changesOf', () => {
  const at = (line: number, bits?: readonly number[]) => ({ ...open(bits), selection: selectOne(line) });

  it('changes the selected layers, a block as its layers, and says nothing of what is so', () => {
    expect(changesOf(at(1), { kind: 'bits', bits: 8 })).toEqual([[0, 8]]);
    expect(changesOf(at(0), { kind: 'bits', bits: 8 })).toHaveLength(6);
    expect(changesOf(at(1), { kind: 'bits', bits: 4 })).toEqual([]);
  });

  it('steps each from where it is, within what is offered', () => {
    expect(changesOf(at(0, [2, 8, ...Array<number>(10).fill(4)]), { kind: 'step', by: 1 })).toEqual([
      [0, 3],
      [2, 5],
      [3, 5],
      [4, 5],
      [5, 5],
    ]);
  });

  it('fills down from the first', () => {
    expect(changesOf(at(0, [2, 4, 4, 4, 4, 3, ...Array<number>(6).fill(4)]), { kind: 'fill' })).toEqual([
      [1, 2],
      [2, 2],
      [3, 2],
      [4, 2],
      [5, 2],
    ]);
  });

  it('reads digits as the offered bit-widths with that whole part, one after another', () => {
    const own = tableOf(12, [1.08, 2, 2.3, 4, 8]);
    const press = (digit: number, ...bits: number[]) => {
      const state = open([...bits, ...Array<number>(12 - bits.length).fill(4)], own);
      const selection = { active: 1, anchor: 1, lines: new Set([1, 2]) };
      return changesOf({ ...state, selection }, { kind: 'digit', digit });
    };
    const both = (bits: number) => [0, 1].map((layer) => [layer, bits]);
    expect(press(1, 4, 4)).toEqual(both(1.08));
    expect(press(2, 4, 4)).toEqual(both(2));
    expect(press(2, 2, 2)).toEqual(both(2.3));
    expect(press(2, 2.3, 2.3)).toEqual(both(2));
    expect(press(2, 2.3, 4)).toEqual(both(2));
    expect(press(4, 4, 4)).toEqual([]);
    expect(press(3, 4, 4)).toEqual([]);
  });

  it('steps through what is offered, whatever it is', () => {
    const own = tableOf(12, [1.08, 2.3, 4]);
    const state = { ...open([1.08, 2.3, ...Array<number>(10).fill(4)], own), selection: selectOne(0) };
    expect(changesOf(state, { kind: 'step', by: 1 })).toEqual([[0, 2.3], [1, 4]]); // prettier-ignore
    expect(changesOf(state, { kind: 'bits', bits: 2 })).toEqual([]);
  });

  it('changes nothing while the text is broken', () => {
    const broken = receive(open(), {
      type: 'plan',
      bits: Array<number>(12).fill(4),
      broken: 'no',
      problems: [],
    })!;
    expect(changesOf({ ...broken, selection: selectOne(1) }, { kind: 'bits', bits: 8 })).toEqual([]);
  });

  it('counts for the selection where the pressed line is part of it', () => {
    const state = { ...open(), selection: { active: 1, anchor: 1, lines: new Set([1, 2]) } };
    expect(changesOf(pressed(state, 2), { kind: 'bits', bits: 8 })).toHaveLength(2);
    expect(changesOf(pressed(state, 4), { kind: 'bits', bits: 8 })).toEqual([[3, 8]]);
  });
});

it('keeps the selection on its layers when lines move', () => {
  const state = togglePins({ ...open(), selection: selectOne(3) }, [7]);
  expect([state.selection.active, [...state.selection.lines]]).toEqual([4, [4]]);
  expect(togglePins(state, [7]).selection.active).toBe(3);
});

describe('the frontier', () => {
  const points = frontierOf(table);

  it('finds the best within a size, the smallest where nothing fits', () => {
    for (const [i, point] of points.entries())
      expect(bestWithin(points, point.bytes)).toBeGreaterThanOrEqual(i);
    expect(bestWithin(points, 0)).toBe(0);
    expect(bestWithin(points, 1e9)).toBe(points.length - 1);
    expect(points[bestWithin(points, points[5]!.bytes)]!.bytes).toBe(points[5]!.bytes);
    expect(indexOf(points, points[7]!.bits)).toBe(7);
  });

  it('lies in the plot, larger to the right and costlier above', () => {
    const size = { width: 400, height: 200 };
    const { points: places, plot } = chartLayout(points, [], size);
    for (const { x, y } of places) {
      expect(x).toBeGreaterThanOrEqual(plot.left);
      expect(x).toBeLessThanOrEqual(plot.right);
      expect(y).toBeGreaterThanOrEqual(plot.top);
      expect(y).toBeLessThanOrEqual(plot.bottom);
    }
    expect(places.at(-1)!.x).toBeGreaterThan(places[0]!.x);
    expect(places.at(-1)!.y).toBeGreaterThan(places[0]!.y);
    expect(nearestAlong(places, places[9]!.x)).toBe(9);
  });

  it('keeps the ends of a sample', () => {
    expect(someOf([1, 2, 3, 4, 5, 6, 7], 3)).toEqual([1, 4, 7]);
    expect(someOf([1, 2], 3)).toEqual([1, 2]);
  });
});

describe('heatOf', () => {
  it('is logarithmic, from the least to the most', () => {
    const { level, ends } = heatOf([
      [1, 0.1],
      [0.01, 0.001],
    ]);
    expect(ends).toEqual([0.001, 1]);
    expect([1, 0.1, 0.01, 0.001, 0, undefined].map(level)).toEqual([9, 6, 3, 0, 0, undefined]);
  });

  it('has one level where all is equal or nothing', () => {
    expect(heatOf([[2, 2]]).level(2)).toBe(0);
    expect(heatOf([[0, 0]]).level(0)).toBe(0);
  });
});

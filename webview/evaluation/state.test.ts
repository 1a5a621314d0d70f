import { describe, expect, it } from 'vitest';
import type { Run, Setup } from './protocol.js';
import {
  availableBits,
  choicesOf,
  chooseBaseline,
  chooseBits,
  choosePlan,
  chooseSet,
  currentMetric,
  draftOf,
  isActive,
  missing,
  receive,
  settledRows,
  shownRows,
} from './state.js';
import { full, resultOf, row, setup, strings, view } from './testing.js';

const show = { type: 'show', view, strings, token: 't' } as const;
const run: Run = { state: 'running', progress: 0.5, rows: [full] };

describe('receive', () => {
  it('knows nothing before it is shown something', () => {
    expect(receive(undefined, { type: 'progress', run })).toBeUndefined();
  });

  it('keeps sorting and metric when the view is replaced', () => {
    const first = receive(undefined, show)!;
    const changed = { ...first, sorting: { column: 'top1', descending: false }, metric: 'kl' as const };
    expect(receive(changed, show)).toMatchObject({ sorting: { column: 'top1' }, metric: 'kl' });
  });

  it('takes progress without touching the form', () => {
    const first = receive(undefined, show)!;
    const draft = { ...first, form: chooseBits(first.form!, 2, true) };
    const next = receive(draft, { type: 'progress', run })!;
    expect(next.form?.bits).toEqual([8, 4, 2]);
    expect(shownRows(next.view)).toEqual([full]);
    expect(isActive(next.view)).toBe(true);
  });
});

describe('the form', () => {
  it('offers the bit-widths that a chosen set has; sets with a problem do not count', () => {
    expect(availableBits(setup)).toEqual([8, 4, 2]);
    expect(availableBits(chooseSet(setup, 'b', true))).toEqual([8, 6, 4, 2]);
    expect(availableBits(chooseSet(setup, 'a', false))).toEqual([8, 6, 4, 2]);
  });

  it('runs sets that have no bit-width in common, each at its own, and none at no bit-width', () => {
    const averages: Setup = {
      ...setup,
      sets: [setup.sets[0]!, { id: 'd', name: 'averages', bits: [2.3, 1.08], chosen: false }],
    };
    const both = chooseSet(averages, 'd', true);
    expect(both.bits).toEqual([8, 4, 2.3, 1.08]);
    expect(choicesOf(both)).toMatchObject({ sets: ['a', 'd'], bits: [8, 4, 2.3, 1.08] });
    const without = chooseBits(chooseBits(both, 2.3, false), 1.08, false);
    expect(missing(without)).toBe('needBits');
    expect(missing(chooseBits(without, 2.3, true))).toBeUndefined();
  });

  it('says what is missing', () => {
    const { data: _, ...withoutData } = setup;
    expect(missing(setup)).toBeUndefined();
    expect(missing(chooseSet(setup, 'a', false))).toBe('needSets');
    expect(missing(withoutData)).toBe('needData');
    expect(missing({ ...setup, bits: [7] })).toBe('needBits');
    expect(missing({ ...setup, limit: NaN })).toBe('samplesInvalid');
    expect(missing({ ...setup, length: NaN })).toBe('lengthInvalid');
    const compared = chooseBaseline(setup, 'gptq', true);
    expect(missing(compared)).toBe('needBaselineData');
    expect(missing({ ...compared, baselineData: { name: 'text' } })).toBeUndefined();
    expect(choicesOf(compared).baselines).toEqual(['rounding', 'gptq']);
  });

  it('runs plans of no set or of a chosen one, with or without bit-widths', () => {
    const planned = { ...choosePlan(choosePlan(setup, 'p', true), 'q', true), bits: [] };
    expect(missing(planned)).toBeUndefined();
    expect(choicesOf(planned)).toMatchObject({ plans: ['p'], bits: [] });
    expect(choicesOf(chooseSet(planned, 'b', true)).plans).toEqual(['p', 'q']);
    expect(draftOf(planned).plans).toEqual(['p', 'q']);
    expect(missing(choosePlan(planned, 'p', false))).toBe('needBits');
  });

  it('asks for what can be run and nothing else', () => {
    const wide: Setup = { ...setup, bits: [8, 7, 4], limit: 500 };
    expect(choicesOf(wide)).toEqual({
      sets: ['a'],
      bits: [8, 4],
      plans: [],
      baselines: ['rounding'],
      limit: 500,
    });
    expect(choicesOf(setup)).not.toHaveProperty('limit');
  });

  it('remembers what is chosen as it stands, but not what is not a number', () => {
    const draft: Setup = { ...setup, bits: [7], limit: NaN };
    expect(draftOf(draft)).toEqual({ sets: ['a', 'c'], bits: [7], plans: [], baselines: ['rounding'] });
  });
});

describe('rows', () => {
  it('are those of a run while it goes on, and where it left some; else those of the result', () => {
    const result = { ...resultOf([full]), name: 'old' };
    const shown = (more: Partial<Run>) => shownRows({ ...view, result, run: { ...run, rows: [], ...more } });
    expect(shown({ state: 'running' })).toEqual([]);
    expect(shown({ state: 'failed' })).toEqual([full]);
    expect(shown({ state: 'cancelled', rows: [row('a', 4, 1)] })).toHaveLength(1);
    expect(shownRows({ ...view, result })).toEqual([full]);
    expect(shownRows(view)).toEqual([]);
  });

  it('settle when a run has gone on to the next', () => {
    const [a, b] = [row('a', 8, 0.8), row('a', 4, 0.7)];
    expect(settledRows([], [full])).toEqual([]);
    expect(settledRows([full], [full, a])).toEqual([full]);
    expect(settledRows([full, a], [full, a, b])).toEqual([a]);
    expect(settledRows([full, a, b], [full, a, b])).toEqual([]);
  });

  it('are measured by the main metric until another is chosen, and by one that they have', () => {
    const state = receive(undefined, { ...show, view: { ...view, run } })!;
    expect(currentMetric(state)?.key).toBe('top1');
    expect(currentMetric({ ...state, metric: 'kl' })?.key).toBe('kl');
    expect(currentMetric({ ...state, metric: 'perplexity' })?.key).toBe('top1');
  });
});

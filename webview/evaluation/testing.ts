/** Rows, strings and views for tests. */
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import type { Result, Setup, StringKey, Strings, View } from './protocol.js';

export const full: EvaluationRow = {
  label: 'full',
  kind: 'full',
  bits: 'fp',
  bytes: 4_800_000,
  samples: 1000,
  top1: 0.88,
  kl: 0,
};

/** A picture classifier's row. */
export const row = (
  label: string,
  bits: number,
  top1: number,
  more: Partial<EvaluationRow> = {},
): EvaluationRow => ({
  label,
  kind: 'adapters',
  bits,
  bytes: bits * 150_000,
  samples: 1000,
  top1,
  ...more,
});

export const rounding = (bits: number, top1: number): EvaluationRow =>
  row('rounding', bits, top1, { kind: 'baseline', method: 'rounding' });

/** Every string is its own key. */
export const strings = new Proxy({} as Strings, { get: (_, key) => key as StringKey });

export const setup: Setup = {
  sets: [
    { id: 'a', name: 'first', bits: [8, 4, 2], chosen: true },
    { id: 'b', name: 'second', bits: [8, 6, 4], chosen: false },
    { id: 'c', name: 'stale', bits: [8, 7], chosen: true, problem: 'The model has changed.' },
  ],
  data: { name: 'pictures' },
  bits: [8, 4],
  plans: [
    { id: 'p', name: 'mixed', chosen: false },
    { id: 'q', name: 'of second', chosen: false, set: 'b' },
  ],
  hasLength: false,
  baselines: [
    { name: 'rounding', title: 'Rounding', hint: '', chosen: true, needsData: false },
    { name: 'gptq', title: 'GPTQ', hint: '', chosen: false, needsData: true },
  ],
};

export const view: View = {
  locale: 'en',
  model: { name: 'vit', task: 'image-classification', details: '' },
  setup,
};

export const resultOf = (rows: readonly EvaluationRow[]): Result => ({
  name: 'today',
  task: 'image-classification',
  data: 'pictures',
  date: 0,
  device: 'cpu',
  seconds: 2,
  skipped: 1,
  rows,
});

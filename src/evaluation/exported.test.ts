import { expect, it } from 'vitest';
import type { EvaluationRow, ReadableAdapterSet } from '../../engine/protocol/protocol.js';
import type { PlanFile } from '../plans/plan-files.js';
import { exportableRows } from './exported.js';

const row = (
  label: string,
  bits: number | 'fp',
  kind: EvaluationRow['kind'] = 'adapters',
): EvaluationRow => ({
  ...{ label, kind, bits },
  bytes: 1,
  samples: 1,
});
const entry = (path: string, offered: number[], matches = true) => ({
  set: { path, name: path.split('/').at(-1), readable: true, matches, facts: { offered } },
  evaluations: [],
});
const entries = (...given: ReturnType<typeof entry>[]) =>
  given as unknown as { set: ReadableAdapterSet; evaluations: [] }[];

it('are those of sets at one of their bit-widths, not of baselines, plans and full precision', () => {
  const rows = [
    row('full', 'fp', 'full'),
    row('gptq', 4, 'baseline'),
    row('a', 8),
    row('a', 4),
    row('a', 3.7),
  ];
  expect(exportableRows(rows, entries(entry('/m/a', [8, 4])), [])).toEqual([
    { row: rows[2], adapters: '/m/a', bits: 8 },
    { row: rows[3], adapters: '/m/a', bits: 4 },
  ]);
});

it('are not of sets that are gone, or whose model has changed', () => {
  const sets = entries(entry('/m/changed', [4], false), entry('/m/other', [4]));
  expect(exportableRows([row('changed', 4), row('gone', 4)], sets, [])).toEqual([]);
});

it('mean the set that the page is of, where two have one name', () => {
  const sets = entries(entry('/m/a', [4]), entry('/elsewhere/a', [4]));
  expect(exportableRows([row('a', 4)], sets, ['/elsewhere/a'])).toMatchObject([{ adapters: '/elsewhere/a' }]);
});

it('are those of plans whose set is there, with its name where several were evaluated', () => {
  const sets = entries(entry('/m/a', [8, 4]), entry('/m/gone', [8, 4], false));
  const plan = (name: string, adapters?: string) => ({
    path: `/w/${name}.precision.json`,
    name,
    paths: { model: undefined, adapters, sensitivity: undefined } as PlanFile['paths'],
  });
  const plans = [plan('mixed', '/m/a'), plan('loose'), plan('stale', '/m/gone')];
  const rows = [
    row('mixed', 3.7),
    row('mixed (a)', 3.7),
    row('mixed (b)', 3.7),
    row('loose', 3.7),
    row('stale', 3.7),
  ];
  expect(exportableRows(rows, sets, [], plans)).toEqual([
    { row: rows[0], plan: '/w/mixed.precision.json' },
    { row: rows[1], plan: '/w/mixed.precision.json' },
  ]);
});

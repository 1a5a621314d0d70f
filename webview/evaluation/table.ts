/** The rows as a table: columns, order, and the text of an export. No DOM. */
import { metricsOf } from './metrics.js';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import type { Result } from './protocol.js';
import type { Sorting } from '../common/controls.js';

/** By full precision first, then bits from high to low: what a column is first sorted by. */
export const INITIAL: Sorting = { column: 'bits', descending: true };

/** Another column starts as it reads best; the same one turns round. */
export function nextSorting(now: Sorting, column: string, numeric: boolean): Sorting {
  return now.column === column ? { column, descending: !now.descending } : { column, descending: numeric };
}

/** Rows in order; equal ones keep theirs, and rows without a value come last either way. */
export function sortRows(rows: readonly EvaluationRow[], { column, descending }: Sorting): EvaluationRow[] {
  const direction = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [sortValue(a, column), sortValue(b, column)];
    if (x === undefined || y === undefined) return Number(x === undefined) - Number(y === undefined);
    if (typeof x === 'string' || typeof y === 'string') return direction * String(x).localeCompare(String(y));
    return x === y ? 0 : direction * (x - y);
  });
}

function sortValue(row: EvaluationRow, column: string): string | number | undefined {
  if (column === 'label') return row.label;
  if (column === 'method') return row.method;
  if (column === 'bits') return row.bits === 'fp' ? Infinity : row.bits;
  const value = row[column as keyof EvaluationRow];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** RFC 4180, with a header line; numbers are written in full, in the C locale. */
export function toCsv(rows: readonly EvaluationRow[], task: Result['task']): string {
  const columns: Exclude<keyof EvaluationRow, 'against'>[] = [
    'label',
    'kind',
    'method',
    ...(rows.some((row) => row.runtime !== undefined) ? (['runtime'] as const) : []),
    'bits',
    'averageBits',
    'bytes',
    'samples',
    ...metricsOf(rows, task).map(({ key }) => key),
    ...(rows.some((row) => row.scoreError !== undefined) ? (['scoreError'] as const) : []),
  ];
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
  return lines.map((line) => line.map(field).join(',') + '\r\n').join('');
}

function field(value: string | number | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'number') return String(value);
  // A spreadsheet would run a name such as `=1+1` as a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** One object: what was evaluated on what, and the rows as the engine gave them. */
export function toJson(result: Result, model: string): string {
  const { task, data, date, device, seconds, skipped, rows } = result;
  const whole = {
    model,
    task,
    evaluationSet: data,
    date: new Date(date).toISOString(),
    device,
    seconds,
    skipped,
    rows,
  };
  return `${JSON.stringify(whole, undefined, 2)}\n`;
}

/** Rows held against one of the others on the same samples, instead of against full precision. No DOM. */
import { errorDecimals } from '../../engine/plans/numbers.js';
import { decimals, mainMetric, type Metric } from './metrics.js';
import type { Difference, EvaluationRow, EvaluationTask } from '../../engine/protocol/protocol.js';

/** What others can be held against. */
export interface Reference extends Pick<EvaluationRow, 'label' | 'kind'> {
  readonly key: string;
}

const keyOf = ({ kind, label }: Pick<EvaluationRow, 'label' | 'kind'>): string => `${kind} ${label}`;

/** What any row is held against, in the order they occur. */
export function referencesOf(rows: readonly EvaluationRow[]): Reference[] {
  const found = rows.flatMap((row) => row.against ?? []);
  return [...new Map(found.map(({ kind, label }) => [keyOf({ kind, label }), { kind, label }]))].map(
    ([key, one]) => ({ key, ...one }),
  );
}

/** A row whose scores are differences. */
export interface DifferenceRow extends EvaluationRow {
  readonly klError?: number;
}

/** The rows that are held against the reference, each score replaced by how far it is from that one's. */
export function differencesFrom(
  rows: readonly EvaluationRow[],
  { key }: Reference,
  task: EvaluationTask,
): DifferenceRow[] {
  return rows.flatMap((row) => {
    const found = row.against?.find((other) => keyOf(other) === key);
    return found ? [differenceRow(row, found, task)] : [];
  });
}

function differenceRow(
  { label, kind, method, runtime, bits, averageBits, bytes, samples }: EvaluationRow,
  { score, scoreError, kl, klError }: Difference,
  task: EvaluationTask,
): DifferenceRow {
  return {
    label,
    kind,
    ...(method !== undefined && { method }),
    ...(runtime !== undefined && { runtime }),
    bits,
    ...(averageBits !== undefined && { averageBits }),
    bytes,
    samples,
    ...(score !== undefined && { [mainMetric(task)]: score }),
    ...(scoreError !== undefined && { scoreError }),
    ...(kl !== undefined && { kl }),
    ...(klError !== undefined && { klError }),
  };
}

/** A difference and its error, both to the error's second digit; `*` behind what is more than two errors. */
export function formatDifference(row: DifferenceRow, metric: Metric, locale: string): string {
  const value = row[metric.key];
  if (value === undefined) return '–';
  const error = metric.key === 'kl' ? row.klError : row.scoreError;
  const unit = metric.share ? 100 : 1;
  const known = errorDecimals(unit * (error ?? 0));
  const digits = known ?? 2;
  const signed = decimals(value, digits, locale, metric.share, { signDisplay: 'exceptZero' });
  if (error === undefined || known === undefined) return signed;
  const written = `${signed} ±${decimals(error, digits, locale, metric.share)}`;
  return Math.abs(value) > 2 * error ? `${written} *` : written;
}

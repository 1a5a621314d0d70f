/** What can be measured: where it stands in a row, which way is better, how it is written. */
import { errorDecimals, formatPercent, formatTiny, numberFormat } from '../../engine/plans/numbers.js';
import type { EvaluationRow, EvaluationTask } from '../../engine/protocol/protocol.js';
import type { StringKey } from './protocol.js';

export interface Metric {
  readonly key: 'top1' | 'top5' | 'accuracy' | 'accuracyNormalised' | 'kl' | 'perplexity';
  readonly name: StringKey & Metric['key'];
  readonly better: 'higher' | 'lower';
  /** Shares of 0 to 1 are written as percent. */
  readonly share: boolean;
}

const METRICS: readonly Metric[] = [
  { key: 'top1', name: 'top1', better: 'higher', share: true },
  { key: 'top5', name: 'top5', better: 'higher', share: true },
  { key: 'accuracy', name: 'accuracy', better: 'higher', share: true },
  { key: 'accuracyNormalised', name: 'accuracyNormalised', better: 'higher', share: true },
  { key: 'perplexity', name: 'perplexity', better: 'lower', share: false },
  { key: 'kl', name: 'kl', better: 'lower', share: false },
];

const MAIN: Readonly<Record<EvaluationTask, Metric['key']>> = {
  'image-classification': 'top1',
  perplexity: 'perplexity',
  'multiple-choice': 'accuracy',
};

/** The score that the task is known by. */
export const mainMetric = (task: EvaluationTask): Metric['key'] => MAIN[task];

const isMain = ({ key }: Metric, task: EvaluationTask): boolean => key === MAIN[task];

/** The metrics that any row has, the task's main one first. */
export function metricsOf(rows: readonly EvaluationRow[], task: EvaluationTask): Metric[] {
  const present = METRICS.filter(({ key }) => rows.some((row) => row[key] !== undefined));
  return present.sort((a, b) => Number(isMain(b, task)) - Number(isMain(a, task)));
}

/** A value as a person reads it: percent and perplexities with two decimals, divergences with five. */
export function formatMetric(metric: Metric, value: number, locale: string): string {
  if (!Number.isFinite(value)) return '–';
  if (metric.share) return decimals(value, 2, locale, true);
  if (metric.key === 'perplexity') return decimals(value, 2, locale);
  if (value !== 0 && Math.abs(value) < 5e-6) return formatTiny(value);
  return decimals(value, 5, locale);
}

/** A row's value, and its error with two digits behind the task's main one. */
export function formatCell(row: EvaluationRow, metric: Metric, task: EvaluationTask, locale: string): string {
  const value = row[metric.key];
  // Full precision has no divergence from itself.
  if (value === undefined || (row.kind === 'full' && metric.key === 'kl')) return '–';
  const written = formatMetric(metric, value, locale);
  const error = row.scoreError ?? 0;
  const digits = errorDecimals(metric.share ? 100 * error : error);
  return !isMain(metric, task) || digits === undefined
    ? written
    : `${written} ±${decimals(error, digits, locale, metric.share)}`;
}

/** With so many digits behind the point. @param share written as percent @param more such as a sign */
export const decimals = (
  value: number,
  digits: number,
  locale: string,
  share = false,
  more: Intl.NumberFormatOptions = {},
): string =>
  share
    ? formatPercent(value, locale, digits, more)
    : numberFormat(locale, {
        minimumFractionDigits: digits,
        maximumFractionDigits: digits,
        ...more,
      }).format(value);

/** A value at a line of a chart: no more digits than it needs. */
export function formatTick(metric: Metric, value: number, locale: string): string {
  return metric.share
    ? formatPercent(value, locale, 0, { maximumFractionDigits: 2 })
    : numberFormat(locale, { maximumSignificantDigits: 3 }).format(value);
}

/** What can be measured: where it stands in a row, which way is better, how it is written. */
import type { Row, StringKey, Task } from './protocol.js';

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

const MAIN: Readonly<Record<Task, Metric['key']>> = {
  'image-classification': 'top1',
  perplexity: 'perplexity',
  'multiple-choice': 'accuracy',
};

/** The metrics that any row has, the task's main one first. */
export function metricsOf(rows: readonly Row[], task: Task): Metric[] {
  const present = METRICS.filter(({ key }) => rows.some((row) => row[key] !== undefined));
  return present.sort((a, b) => Number(b.key === MAIN[task]) - Number(a.key === MAIN[task]));
}

/** A value as a person reads it: percent and perplexities with two decimals, divergences with five. */
export function formatMetric(metric: Metric, value: number, locale: string): string {
  if (!Number.isFinite(value)) return '–';
  if (metric.share)
    return new Intl.NumberFormat(locale, {
      style: 'percent',
      minimumFractionDigits: 2,
      maximumFractionDigits: 2,
    }).format(value);
  if (metric.key === 'perplexity') return decimals(value, 2, locale);
  if (value !== 0 && Math.abs(value) < 5e-6)
    return new Intl.NumberFormat(locale, { notation: 'scientific', maximumFractionDigits: 1 }).format(value);
  return decimals(value, 5, locale);
}

const decimals = (value: number, digits: number, locale: string): string =>
  new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(
    value,
  );

/** A value at a line of a chart: no more digits than it needs. */
export function formatTick(metric: Metric, value: number, locale: string): string {
  const style = metric.share
    ? ({ style: 'percent', maximumFractionDigits: 2 } as const)
    : { maximumSignificantDigits: 3 };
  return new Intl.NumberFormat(locale, style).format(value);
}

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const;

/** Such as `4.8 MB`: SI units, three digits. */
export function formatBytes(bytes: number, locale: string): string {
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  return new Intl.NumberFormat(locale, {
    style: 'unit',
    unit: UNITS[power]!,
    maximumSignificantDigits: 3,
  }).format(bytes / 1000 ** power);
}

/** Fills `{0}`, `{1}`, … of a text. */
export const fill = (text: string, ...values: readonly (string | number)[]): string =>
  text.replace(/\{(\d+)\}/g, (whole, index: string) => String(values[Number(index)] ?? whole));

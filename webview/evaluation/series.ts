/** From rows to what a chart shows: one series a model, the full-precision value beside them. No DOM. */
import type { Metric } from './metrics.js';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';

export interface Point {
  readonly key: string;
  /** As the set offers it. */
  readonly bits: number;
  /** Per weight, everything stored counted; where that is not told, `bits`. */
  readonly average: number;
  readonly bytes: number;
  readonly value: number;
}

export interface Series {
  readonly label: string;
  readonly kind: Exclude<EvaluationRow['kind'], 'full'>;
  readonly method?: string;
  /** Which of the looks for its kind it has, from 0. */
  readonly look: number;
  /** By average bits, low to high. */
  readonly points: readonly Point[];
}

export interface Chartable {
  readonly full?: EvaluationRow;
  readonly series: readonly Series[];
}

const ORDER: readonly Series['kind'][] = ['baseline', 'adapters', 'exported'];

/** Tells rows apart, and finds the same one again in a later message. */
export const rowKey = (row: EvaluationRow): string => `${row.kind}/${row.bits}/${row.label}`;

/** Baselines first, so that adapter sets are drawn over them, and exported files over both. Rows without a finite value have no point. */
export function chartable(rows: readonly EvaluationRow[], metric: Metric): Chartable {
  const full = rows.find((row) => row.kind === 'full');
  const groups = new Map<string, EvaluationRow[]>();
  for (const row of rows) {
    if (row.kind === 'full') continue;
    const key = `${row.kind}/${row.label}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  // Files share the looks of sets, of which none is alike.
  const looks = { baseline: 0, own: 0 };
  const series = [...groups.values()].map((group): Series => {
    const { label, kind, method } = group[0]! as EvaluationRow & Pick<Series, 'kind'>;
    return {
      label,
      kind,
      ...(method !== undefined && { method }),
      look: looks[kind === 'baseline' ? kind : 'own']++,
      points: group
        .flatMap((row) => {
          const value = row[metric.key];
          const { bits, averageBits, bytes } = row;
          if (typeof bits !== 'number' || value === undefined || !Number.isFinite(value)) return [];
          const average = averageBits ?? bits;
          return [{ key: rowKey(row), bits, average, bytes, value }];
        })
        .sort((a, b) => a.average - b.average),
    };
  });
  return {
    // Its divergence from itself is zero, which has no place on a logarithmic axis.
    ...(full && metric.key !== 'kl' && { full }),
    series: ORDER.flatMap((kind) => series.filter((s) => s.kind === kind)),
  };
}

/** The smallest quantized model, exported files apart, that is no more than `tolerance` worse than full precision. */
export function bestTrade(rows: readonly EvaluationRow[], metric: Metric): EvaluationRow | undefined {
  const whole = rows.find((row) => row.kind === 'full');
  const full = whole?.[metric.key];
  if (full === undefined) return undefined;
  return rows
    .filter(
      (row) =>
        row.kind !== 'full' &&
        row.kind !== 'exported' &&
        // While an evaluation runs, a row may have seen but some of them.
        row.samples === whole?.samples &&
        withinTolerance(metric, row[metric.key], full),
    )
    .sort((a, b) => a.bytes - b.bytes || compareValues(metric, a, b))[0];
}

/** One point of a share, one percent of a perplexity. */
function withinTolerance(metric: Metric, value: number | undefined, full: number): boolean {
  if (value === undefined || !Number.isFinite(value)) return false;
  return metric.better === 'higher' ? value >= full - 0.01 : value <= full * 1.01;
}

const compareValues = (metric: Metric, a: EvaluationRow, b: EvaluationRow): number =>
  ((b[metric.key] ?? 0) - (a[metric.key] ?? 0)) * (metric.better === 'higher' ? 1 : -1);

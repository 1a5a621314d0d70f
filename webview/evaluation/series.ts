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

/**
 * Quantized models that can be compared, exported files apart: while an evaluation runs, a row may have seen but some of the
 * samples.
 */
function candidates(rows: readonly EvaluationRow[], { key }: Metric): EvaluationRow[] {
  const most = Math.max(0, ...rows.map(({ samples }) => samples));
  return rows.filter(
    (row) =>
      row.kind !== 'full' &&
      row.kind !== 'exported' &&
      row.samples === (rows.find(({ kind }) => kind === 'full')?.samples ?? most) &&
      Number.isFinite(row[key] ?? NaN),
  );
}

/**
 * The smallest model that is no more than so much worse than full precision; the better of two that are as small.
 * @param loss of a share in points, 0 to 1; else of full precision's value
 */
export function smallestWithin(
  rows: readonly EvaluationRow[],
  metric: Metric,
  loss: number,
): EvaluationRow | undefined {
  const full = rows.find((row) => row.kind === 'full')?.[metric.key];
  if (full === undefined) return undefined;
  const limit = metric.share ? (metric.better === 'higher' ? full - loss : full + loss) : full * (1 + loss);
  const isWithin = (row: EvaluationRow) =>
    metric.better === 'higher' ? row[metric.key]! >= limit : row[metric.key]! <= limit;
  return candidates(rows, metric)
    .filter(isWithin)
    .sort((a, b) => a.bytes - b.bytes || worseBy(metric, a, b))[0];
}

/** The best model of at most so many bytes; the smaller of two that are as good. */
export const bestWithin = (
  rows: readonly EvaluationRow[],
  metric: Metric,
  bytes: number,
): EvaluationRow | undefined =>
  candidates(rows, metric)
    .filter((row) => row.bytes <= bytes)
    .sort((a, b) => worseBy(metric, a, b) || a.bytes - b.bytes)[0];

/** Sizes of the models that can be compared, small to large, each once. */
export const sizesOf = (rows: readonly EvaluationRow[], metric: Metric): number[] =>
  [...new Set(candidates(rows, metric).map(({ bytes }) => bytes))].sort((a, b) => a - b);

const worseBy = ({ key, better }: Metric, a: EvaluationRow, b: EvaluationRow): number =>
  ((b[key] ?? 0) - (a[key] ?? 0)) * (better === 'higher' ? 1 : -1);

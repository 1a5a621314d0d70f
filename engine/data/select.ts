import type { ImageSource } from './image-source.js';
import { createRandom } from './random.js';

/**
 * The first `limit` pictures, or all. Where pictures stand class by class, as in class folders, the first of
 * each class come before the second of each, so that any prefix holds the classes as evenly as it can; from
 * Parquet the same pictures come in the order of the file, which is how it is read fastest.
 */
export function selectFirst(source: ImageSource, limit: number): number[] {
  const count = Math.min(limit, source.length);
  const classes = source.labels && classRuns(source.labels);
  if (!classes || classes.length < 2) return Array.from({ length: count }, (_, index) => index);
  const chosen: number[] = [];
  for (let turn = 0; chosen.length < count; turn++)
    for (const { start, end } of classes)
      if (start + turn < end && chosen.length < count) chosen.push(start + turn);
  return source.kind === 'parquet' ? chosen.sort((a, b) => a - b) : chosen;
}

/**
 * `count` pictures drawn without replacement, in the order of the draw; all of them in order if there are no
 * more. The same length, count and seed give the same draw, everywhere.
 */
export function selectRandom(source: ImageSource, count: number, seed: number): number[] {
  const all = Array.from({ length: source.length }, (_, index) => index);
  if (count >= all.length) return all;
  const random = createRandom(seed, 'select pictures');
  for (let i = 0; i < count; i++) {
    const j = i + random.integer(all.length - i);
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all.slice(0, count);
}

/** The stretch of each class if every class is one stretch of `labels`; else nothing. */
function classRuns(labels: Int32Array): { start: number; end: number }[] | undefined {
  const runs: { start: number; end: number }[] = [];
  const seen = new Set<number>();
  for (let start = 0, end = 0; start < labels.length; start = end) {
    const label = labels[start]!;
    if (seen.has(label)) return undefined;
    seen.add(label);
    while (end < labels.length && labels[end] === label) end++;
    runs.push({ start, end });
  }
  return runs;
}

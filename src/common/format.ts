/** Numbers for people: sizes, counts, durations and bit-widths. Units are SI; digits follow `locale`. */

import * as numbers from '../../engine/plans/numbers.js';

const COUNT_UNITS = ['', ' K', ' M', ' B', ' T'];

/** Such as `4.81 MB` and `83.80%`; of what is under way, whole percent. */
export const { formatBytes, formatPercent, formatProgress } = numbers;

/** Such as `1.2 M`. */
export function formatCount(count: number, locale?: string): string {
  let unit = 0;
  let rest = count;
  // 999.5 would be shown as 1,000 of the smaller unit.
  while (rest >= 999.5 && unit < COUNT_UNITS.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  const maximumFractionDigits = unit > 0 && rest < 9.95 ? 1 : 0;
  return `${new Intl.NumberFormat(locale, { maximumFractionDigits }).format(rest)}${COUNT_UNITS[unit]!}`;
}

/** Such as `40 s`, `3 min` or `1 h 20 min`: as exact as an estimate deserves. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 10) return `${Math.round(minutes / 60)} h`;
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}

/** Bit-widths with runs of whole ones closed up, high to low, such as `8–4`, `8, 4, 2` or `4, 2.3`. */
export function formatBits(bits: readonly number[], locale?: string): string {
  const text = (width: number) => numbers.formatWidth(width, locale);
  const sorted = [...new Set(bits)].sort((a, b) => b - a);
  const runs: number[][] = [];
  for (const width of sorted) {
    const run = runs.at(-1);
    if (Number.isInteger(width) && run?.at(-1) === width + 1) run.push(width);
    else runs.push([width]);
  }
  return runs
    .map((run) => (run.length > 2 ? `${text(run[0]!)}–${text(run.at(-1)!)}` : run.map(text).join(', ')))
    .join(', ');
}

/** A loss or divergence with three digits that mean something. */
export const formatLoss = (loss: number, locale?: string): string =>
  loss !== 0 && Math.abs(loss) < 1e-4
    ? loss.toExponential(2)
    : new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 }).format(loss);

/** Measurements in words. No DOM. */
import { errorDecimals, formatPercent } from '../../engine/plans/numbers.js';
import { fill } from '../common/text.js';
import { decimals, formatCost } from './grid.js';
import type { Measurement, Strings } from './protocol.js';

/** What a measurement is to be held against. */
export function besideMeasured({ metric, full, kl }: Measurement, strings: Strings, locale: string): string {
  if (metric === 'kl') return strings.kl;
  const whole = formatScore(metric, full, locale);
  return kl === undefined
    ? fill(strings.measuredFull, whole)
    : fill(strings.measuredFullKl, whole, formatCost(kl, locale));
}

/** A score with its error, where it has one, to two digits. */
export function formatMeasured({ metric, value, error = 0 }: Measurement, locale: string): string {
  const written = formatScore(metric, value, locale);
  const share = isShare(metric);
  const digits = errorDecimals(share ? 100 * error : error);
  if (digits === undefined) return written;
  const chance = share ? formatPercent(error, locale, digits) : decimals(error, digits, locale);
  return `${written} ±${chance}`;
}

const isShare = (metric: Measurement['metric']): boolean => metric === 'top1' || metric === 'accuracy';

function formatScore(metric: Measurement['metric'], value: number, locale: string): string {
  if (metric === 'perplexity') return decimals(value, 3, locale);
  if (metric === 'kl') return decimals(value, 5, locale);
  return formatPercent(value, locale, 2);
}

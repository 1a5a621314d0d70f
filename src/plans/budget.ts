/** What a person writes as a budget. Knows no editor. */
import type { Budget } from '../../engine/protocol/protocol.js';

const UNITS: Readonly<Record<string, number>> = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 };

/** To two decimals, so that what is written is not below it. */
export const roundedUp = (bits: number): number => Math.ceil(100 * bits - 1e-6) / 100;

const USUAL_BITS = 3.5;

/** Average bits to begin with: some between the smallest possible and the most that are offered. */
export function usualBudget(least: number, offered: readonly number[]): number {
  const most = Math.max(least, ...offered);
  return USUAL_BITS > least && USUAL_BITS < most ? USUAL_BITS : roundedUp((least + most) / 2);
}

/** A size to begin with, in bytes: an eighth of full precision where that is possible and of use, else half way between. */
export function usualSize(least: number, most: number, full: number): number {
  const eighth = full / 8;
  return eighth >= least && eighth <= most ? eighth : (least + most) / 2;
}

/** Bits from a number; bytes from a number with an SI unit. Undefined where it is neither. */
export function parseBudget(kind: Budget, text: string): number | undefined {
  const [, digits, unit = ''] = /^\s*(\d+(?:[.,]\d+)?)\s*([a-z]*)\s*$/i.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const value = Number(digits.replace(',', '.'));
  if (kind !== 'bytes') return /^(bits?)?$/i.test(unit) && value > 0 ? value : undefined;
  const factor = UNITS[unit.toLowerCase()];
  return factor === undefined || !(value > 0) ? undefined : value * factor;
}

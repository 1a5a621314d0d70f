/** Numbers for people. */

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const;
export type ByteUnit = (typeof BYTE_UNITS)[number];

/**
 * A number of bytes in the smallest SI unit in which it is below 1000 as it will be written.
 * @param written rounds as the caller writes it
 */
export function inByteUnit(
  bytes: number,
  written: (value: number, unit: ByteUnit) => number,
): { readonly value: number; readonly unit: ByteUnit } {
  const inUnits = BYTE_UNITS.map((unit, power) => ({ unit, value: bytes / 1000 ** power }));
  return inUnits.find(({ value, unit }) => written(value, unit) < 1000) ?? inUnits.at(-1)!;
}

/** Such as `4.8 MB` of two digits, `4.81 MB` of three. Whole numbers keep all of theirs: `123 MB` of either. */
export function formatBytes(bytes: number, digits: number, locale?: string): string {
  const { value, unit } = inByteUnit(bytes, Math.round);
  const options: Intl.NumberFormatOptions = {
    maximumSignificantDigits: digits,
    maximumFractionDigits: 0,
    roundingPriority: 'morePrecision',
  };
  return `${numberFormat(locale, options).format(value)} ${unit}`;
}

/** A bit-width or a mean of some: up to two decimals, such as `4`, `2.3` or `1.08`. */
export const formatWidth = (bits: number, locale?: string): string =>
  numberFormat(locale, { maximumFractionDigits: 2 }).format(bits);

const formats = new Map<string, Intl.NumberFormat>();

/** Making one takes longer than using it a hundred times. */
export function numberFormat(
  locale: string | undefined,
  options: Intl.NumberFormatOptions,
): Intl.NumberFormat {
  const key = JSON.stringify([locale, options]);
  const format = formats.get(key) ?? new Intl.NumberFormat(locale, options);
  formats.set(key, format);
  return format;
}

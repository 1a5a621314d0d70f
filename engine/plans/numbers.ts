/** Numbers for people. */

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const;

/** A number of bytes in the smallest SI unit in which it is below 1000 when it is rounded. */
function inByteUnit(bytes: number): { readonly value: number; readonly unit: string } {
  const inUnits = BYTE_UNITS.map((unit, power) => ({ unit, value: bytes / 1000 ** power }));
  return inUnits.find(({ value }) => Math.round(value) < 1000) ?? inUnits.at(-1)!;
}

/** Such as `4.81 MB` or `123 MB`: three digits, or all before the decimal point. */
export function formatBytes(bytes: number, locale?: string): string {
  const { value, unit } = inByteUnit(bytes);
  return `${numberFormat(locale, SIZE_DIGITS).format(value)} ${unit}`;
}

const SIZE_DIGITS: Intl.NumberFormatOptions = {
  maximumSignificantDigits: 3,
  maximumFractionDigits: 0,
  roundingPriority: 'morePrecision',
};

/** As `formatBytes`, but never less than there are: a budget as it is written here holds them. */
export function formatBytesUp(bytes: number, locale?: string): string {
  const { value } = inByteUnit(bytes);
  // In steps of the last digit that will be written.
  const step = (bytes / value) * 10 ** Math.min(0, Math.floor(Math.log10(value)) - 2);
  return formatBytes(value > 0 ? Math.ceil(bytes / step - 1e-9) * step : bytes, locale);
}

/** A bit-width or a mean of some: up to two decimals, such as `4`, `2.3` or `1.08`. */
export const formatWidth = (bits: number, locale?: string): string =>
  numberFormat(locale, { maximumFractionDigits: 2 }).format(bits);

/** A share of 1 as percent with so many decimals, such as `83.80%`. @param more such as a sign */
export const formatPercent = (
  share: number,
  locale?: string,
  decimals = 0,
  more: Intl.NumberFormatOptions = {},
): string =>
  numberFormat(locale, {
    style: 'percent',
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
    ...more,
  }).format(share);

/** How much of something is done, in whole percent: 100 only for all of it. */
export const formatProgress = (share: number, locale?: string): string =>
  formatPercent(share >= 1 ? 1 : Math.min(99, Math.max(0, Math.floor(share * 100 + 1e-9))) / 100, locale);

/** Decimals of the first two digits of a standard error as it will be written; undefined of an error that says nothing. */
export function errorDecimals(error: number): number | undefined {
  if (!(error > 0)) return undefined;
  const rounded = Number(error.toPrecision(2));
  return Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(rounded) + 1e-9)));
}

/** A number so small that fixed digits would hide it, such as `4e-6`. */
export const formatTiny = (value: number): string => value.toExponential(0);

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

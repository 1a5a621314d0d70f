/** Texts with places to fill, and sizes. No DOM. */
import * as numbers from '../../engine/plans/numbers.js';

/** Such as `4.81 MB`. */
export const formatBytes = (bytes: number, locale: string): string => numbers.formatBytes(bytes, 3, locale);

/** Fills `{0}`, `{1}`, … of a text. */
export const fill = (text: string, ...values: readonly (string | number)[]): string =>
  text.replace(/\{(\d+)\}/g, (whole, index: string) => String(values[Number(index)] ?? whole));

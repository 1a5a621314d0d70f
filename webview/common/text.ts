/** Texts with places to fill, and sizes. No DOM. */
export { formatBytes } from '../../engine/plans/numbers.js';

/** Fills `{0}`, `{1}`, … of a text. */
export const fill = (text: string, ...values: readonly (string | number)[]): string =>
  text.replace(/\{(\d+)\}/g, (whole, index: string) => String(values[Number(index)] ?? whole));

/** Bits of layers: what they can be, whether two plans have the same, and plans as short texts. */

/** What a layer can have, means such as 2.3 included. Each adapter set offers some of it. */
export const MIN_BITS = 1;
export const MAX_BITS = 8;

/** The whole ones, ascending. */
export const WHOLE_BITS: readonly number[] = Array.from(
  { length: MAX_BITS - MIN_BITS + 1 },
  (_, i) => MIN_BITS + i,
);

/** Whether two plans give every layer the same bits. */
export const sameBits = (a: readonly number[], b: readonly number[]): boolean =>
  a === b || (a.length === b.length && a.every((width, i) => width === b[i]));

/** The code of '0': places up to the tenth are digits. */
const FIRST = 48;
/** Of bits that are not offered. */
const NONE = String.fromCharCode(FIRST - 1);

/**
 * The bits of layers as one character for each, where many plans travel: the one whose code is 48 + the place of the
 * layer's bit-width among those offered, so `0` for the first. A layer whose bits are not offered has a `/`.
 */
export function encodeBits(bits: readonly number[], offered: readonly number[]): string {
  const characters = new Map(offered.map((width, i) => [width, String.fromCharCode(FIRST + i)]));
  return bits.map((width) => characters.get(width) ?? NONE).join('');
}

/** The bits of layers that `encodeBits` wrote, all of them offered. */
export const decodeBits = (text: string, offered: readonly number[]): number[] =>
  Array.from({ length: text.length }, (_, i) => offered[text.charCodeAt(i) - FIRST]!);

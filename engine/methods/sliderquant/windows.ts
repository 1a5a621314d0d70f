/** Which blocks are trained together, one window after another (docs/METHOD.md, section 17). */
import type { SliderquantSettings } from './settings.js';

/** The first and the last block. */
export type WindowSpan = readonly [first: number, last: number];

/** Blocks of a sliding window, and by how many it goes on. */
const [SIZE, STRIDE] = [2, 1];

/** The windows of a chain of so many blocks, in order. */
export function windowsOf(
  blocks: number,
  { windows, fill }: Pick<SliderquantSettings, 'windows' | 'fill'>,
): WindowSpan[] {
  if (windows === 'growing') return growingWindows(blocks, fill, SIZE, STRIDE);
  return slidingWindows(blocks, 0, windows === 'single' ? 1 : Math.min(SIZE, Math.max(1, blocks)), STRIDE);
}

/** Windows that grow to `fill` blocks, at most all, slide, and shrink over the last ones. */
export function growingWindows(blocks: number, fill: number, size: number, stride: number): WindowSpan[] {
  const most = Math.min(fill, blocks);
  const each = Array.from({ length: most }, (_, i) => i);
  return [
    ...each.map((last): WindowSpan => [0, last]),
    ...slidingWindows(blocks, Math.max(0, most - stride), size, stride),
    ...each.map((i): WindowSpan => [blocks - most + i, blocks - 1]),
  ];
}

/** @param lead blocks at either end that are left to others */
function slidingWindows(blocks: number, lead: number, size: number, stride: number): WindowSpan[] {
  const rounds = Math.ceil((blocks - 2 * lead - size) / stride) + 1;
  return Array.from({ length: Math.max(0, rounds) }, (_, r) => [
    r * stride + lead,
    Math.min(r * stride + size + lead, blocks) - 1,
  ]);
}

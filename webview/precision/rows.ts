/** The lines of the grid: blocks and their layers, filtered and sorted. No DOM. */
import { priceIndex } from '../../engine/plans/totals.js';
import type { Table } from './protocol.js';

export type Order = 'model' | 'bits' | 'share' | 'cost' | 'sensitivity';

export type Line =
  | { readonly kind: 'block'; readonly block: string; readonly layers: readonly number[] }
  | { readonly kind: 'layer'; readonly layer: number };

export interface LineOptions {
  readonly filter: string;
  readonly order: Order;
  /** Pinned layers come first. */
  readonly pinned: ReadonlySet<number>;
}

/**
 * Pinned layers first; then, in the model's order, every block before its layers; in any other order layers alone, the
 * largest value first.
 */
export function linesOf(table: Table, bits: readonly number[], options: LineOptions): Line[] {
  const { filter, order, pinned } = options;
  const matches = matcher(filter);
  const shown = table.layers.flatMap(({ name }, i) => (matches(name) ? [i] : []));
  const first = shown.filter((i) => pinned.has(i)).map(layerLine);
  const rest = shown.filter((i) => !pinned.has(i));
  if (order !== 'model') {
    const value = valueOf(table, bits, order);
    const values = new Map(rest.map((i) => [i, value(i)]));
    return [...first, ...rest.sort((a, b) => values.get(b)! - values.get(a)! || a - b).map(layerLine)];
  }
  const blocks = new Map<string, number[]>();
  for (const i of rest) {
    const { block } = table.layers[i]!;
    if (!blocks.get(block)?.push(i)) blocks.set(block, [i]);
  }
  return [
    ...first,
    ...[...blocks].flatMap(([block, layers]): Line[] => [
      { kind: 'block', block, layers },
      ...layers.map(layerLine),
    ]),
  ];
}

const layerLine = (layer: number): Line => ({ kind: 'layer', layer });

/** The layers that a line stands for. */
export const layersOf = (line: Line | undefined): readonly number[] =>
  line === undefined ? [] : line.kind === 'layer' ? [line.layer] : line.layers;

/** Every word of a filter stands somewhere in the name. */
function matcher(filter: string): (name: string) => boolean {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return (name) => {
    const lower = name.toLowerCase();
    return words.every((word) => lower.includes(word));
  };
}

function valueOf(
  table: Table,
  bits: readonly number[],
  order: Exclude<Order, 'model'>,
): (layer: number) => number {
  const costs = table.sensitivity?.costs;
  switch (order) {
    case 'bits':
      return (i) => bits[i]!;
    case 'share':
      return (i) => table.layers[i]!.weights;
    case 'cost':
      return (i) => costs?.[i]![priceIndex(table.bits, bits[i]!)] ?? 0;
    case 'sensitivity':
      return (i) => costs?.[i]![0] ?? 0;
  }
}

/** A layer's name without its block's, such as `attention.query`. */
export const nameWithin = (block: string, layer: string): string =>
  layer.startsWith(`${block}.`) ? layer.slice(block.length + 1) : layer;

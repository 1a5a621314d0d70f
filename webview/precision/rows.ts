/** The lines of the grid: blocks and their layers, filtered and sorted. No DOM. */
import { priceIndex } from '../../engine/plans/totals.js';
import type { Table } from './protocol.js';

export type Order = 'model' | 'bits' | 'share' | 'cost' | 'sensitivity';

export type Line =
  | { readonly kind: 'block'; readonly block: string; readonly layers: readonly number[] }
  /** `apart`: it does not stand below its block, and has to name it. */
  | { readonly kind: 'layer'; readonly layer: number; readonly apart: boolean };

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
  const first = shown.filter((i) => pinned.has(i)).map(apart);
  const rest = shown.filter((i) => !pinned.has(i));
  if (order !== 'model') {
    const value = valueOf(table, bits, order);
    const values = new Map(rest.map((i) => [i, value(i)]));
    return [...first, ...rest.sort((a, b) => values.get(b)! - values.get(a)! || a - b).map(apart)];
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
      ...layers.map((layer): Line => ({ kind: 'layer', layer, apart: false })),
    ]),
  ];
}

const apart = (layer: number): Line => ({ kind: 'layer', layer, apart: true });

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

/** What tells blocks apart, such as `layer.0` of `vit.encoder.layer.0`: their names without what all of them begin with, but for its last word. */
export function shortBlock(table: Table, block: string): string {
  const known = beginnings.get(table) ?? beginning(table.layers.map((layer) => layer.block));
  beginnings.set(table, known);
  return block
    .split('.')
    .slice(Math.max(0, known - 1))
    .join('.');
}

const beginnings = new WeakMap<Table, number>();

/** Words that all names begin with; of one name all but its last. */
function beginning(names: readonly string[]): number {
  const [first = [], ...others] = [...new Set(names)].map((name) => name.split('.'));
  const differs = first.findIndex((word, i) => others.some((other) => other[i] !== word));
  return others.length === 0 || differs < 0 ? Math.max(0, first.length - 1) : differs;
}

/** A layer's name without its block's, such as `attention.query`. */
export const nameWithin = (block: string, layer: string): string =>
  layer.startsWith(`${block}.`) ? layer.slice(block.length + 1) : layer;

/** A weight with its correction, rounded in its first columns (docs/METHOD.md, section 17). */
import { Graph, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { fakeQuantizeWeight, scaleRows, weightGrid } from '../../graph/quantizers.js';
import type { LinearEntry } from '../../models/listing.js';

export type Layer = Pick<LinearEntry, 'in' | 'out'>;

/** How a weight is rounded. */
export interface Rounding {
  readonly rank: number;
  /** Input columns that share a scale, -1 for whole rows. */
  readonly groupSize: number;
  /** Columns that are rounded, the first ones. */
  readonly columns: number;
}

/** What a layer's weight is made with: A [rank, in], B [out, rank], logits of the shares of ranges [rows, 1]. */
export interface Trained<T> {
  readonly a?: T;
  readonly b?: T;
  readonly upper: T;
  readonly lower: T;
}

/** The columns that are rounded where a share of them is to be: whole groups, where there are any. */
export function roundedColumns({ in: columns }: Layer, share: number, groupSize: number): number {
  const asked = Math.ceil(share * columns);
  return groupSize === -1 ? asked : Math.min(columns, Math.ceil(asked / groupSize) * groupSize);
}

/** W + B A / rank, with ranges of whole rows (or groups) rounded in the first columns. @param levels 2^bits − 1, shape [] */
export function roundedWeight(
  weight: Value,
  own: Trained<Value>,
  levels: Value,
  { rank, groupSize, columns }: Rounding,
): Value {
  const adapted = adaptedWeight(weight, own, rank);
  const rounded = fakeQuantizeWeight(adapted, own.upper, own.lower, levels, groupSize);
  const all = weight.shape[1]!;
  if (columns === all) return rounded;
  return op.concat([op.slice(rounded, 1, 0, columns), op.slice(adapted, 1, columns, all)], 1);
}

function adaptedWeight(weight: Value, { a, b }: Trained<Value>, rank: number): Value {
  if (!a || !b) return weight;
  return op.gemm(op.mul(b, weight.graph.scalar(1 / rank)), a, { c: weight });
}

/** Inputs `weight`, `a`, `b`, `upper`, `lower` and `levels`; output `weight_q` [out, in]. */
export function roundedGraph(
  out: number,
  columns: number,
  rank: number,
  groupSize: number,
  rounded: number,
): Graph {
  const graph = new Graph();
  const { weight, own, levels } = inputsOf(graph, { in: columns, out }, rank, groupSize);
  graph.output('weight_q', roundedWeight(weight, own, levels, { rank, groupSize, columns: rounded }));
  return graph;
}

/** The same inputs; outputs `codes` [out, in], `scale` and `zero` [rows, 1] of the whole weight. */
export function codesGraph(out: number, columns: number, rank: number, groupSize: number): Graph {
  const graph = new Graph();
  const { weight, own, levels } = inputsOf(graph, { in: columns, out }, rank, groupSize);
  const adapted = adaptedWeight(weight, own, rank);
  for (const [name, value] of Object.entries(weightGrid(adapted, own.upper, own.lower, levels, groupSize)))
    graph.output(name, value);
  return graph;
}

function inputsOf(graph: Graph, layer: Layer, rank: number, groupSize: number) {
  const { in: columns, out } = layer;
  const rows = scaleRows(layer, groupSize);
  return {
    weight: graph.input('weight', [out, columns]),
    levels: graph.input('levels', []),
    own: {
      ...(rank > 0 && { a: graph.input('a', [rank, columns]), b: graph.input('b', [out, rank]) }),
      upper: graph.input('upper', [rows, 1]),
      lower: graph.input('lower', [rows, 1]),
    },
  };
}

/** Grids for plain rounding, where nothing makes up for an error: searched by what errors of all columns cost together. */
import { disposeAll, placeAll } from '../../execution/part.js';
import { CancelledError } from '../../errors.js';
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Programs } from '../../runtime/programs.js';
import { codeOf, gridOf, groupsOf, rangeOf, triedShares, type Grids, type Layout } from './grids.js';

/**
 * For each group of columns of a row the shares of its range with the least e M eᵀ by plain rounding, e the errors in its own
 * columns.
 * @param data W [out, in] @param moment M [in, in], symmetric, columns in their own order
 * @param stored what becomes of a scale where it is stored
 */
export async function searchNearest(
  programs: Programs,
  data: Float32Array,
  moment: Float32Array,
  layout: Layout,
  signal: AbortSignal,
  stored: (scale: number) => number = Math.fround,
): Promise<Grids> {
  const columns = Math.sqrt(moment.length);
  const out = data.length / columns;
  const { groupSize } = layout;
  const perGroup = groupSize === -1 ? columns : groupSize;
  const groups = groupsOf(columns, groupSize);
  const grids: Grids = { scale: new Float32Array(out * groups), zero: new Float32Array(out * groups) };
  for (let group = 0; group < groups; group++) {
    const first = group * perGroup;
    const count = Math.min(perGroup, columns - first);
    const own = new Float32Array(out * count);
    for (let row = 0; row < out; row++)
      own.set(data.subarray(row * columns + first, row * columns + first + count), row * count);
    const corner = new Float32Array(count * count);
    for (let i = 0; i < count; i++) {
      const at = (first + i) * columns + first;
      corner.set(moment.subarray(at, at + count), i * count);
    }
    const found = await searchRows(programs, own, corner, layout, signal, stored);
    for (let row = 0; row < out; row++) {
      grids.scale[row * groups + group] = found.scale[row]!;
      grids.zero[row * groups + group] = found.zero[row]!;
    }
  }
  return grids;
}

/** A grid for each whole row. @param data [out, n] @param moment [n, n] */
async function searchRows(
  programs: Programs,
  data: Float32Array,
  moment: Float32Array,
  layout: Layout,
  signal: AbortSignal,
  stored: (scale: number) => number,
): Promise<Grids> {
  const { runtime } = programs;
  const { bits, halves } = layout;
  const n = Math.sqrt(moment.length);
  const out = data.length / n;
  const rows = Array.from({ length: out }, (_, row) => {
    const path = triedShares();
    return { range: rangeOf(data, row * n, (row + 1) * n), path, next: path.next() };
  });
  const grids: Grids = { scale: new Float32Array(out), zero: new Float32Array(out) };
  const program = await programs.getBuilt(costGraph, [out, n], `costs of errors ${out}×${n}`, {
    keep: false,
  });
  const placed = await placeAll(programs, [['moment', { data: moment, shape: [n, n] }]]);
  const errors = new Float32Array(data.length);
  const last = 2 ** bits - 1;
  try {
    for (;;) {
      if (signal.aborted) throw new CancelledError();
      for (const [row, { range, next }] of rows.entries()) {
        const { s, z } = gridOf(range, next.value, layout, stored);
        grids.scale[row] = s;
        grids.zero[row] = z;
        for (let i = row * n; i < (row + 1) * n; i++) {
          const x = data[i]!;
          errors[i] = s * (codeOf(x, s, z, halves, 0, last) - z) - x;
        }
      }
      // Every row tries as many, and the grids of the last round are those of the best.
      if (rows[0]?.next.done !== false) return grids;
      const outputs = await program.run({ ...placed, errors: runtime.tensor(errors, [out, n]) });
      const costs = await runtime.read(outputs.costs!);
      for (const [i, row] of rows.entries()) row.next = row.path.next(costs[i]!);
    }
  } finally {
    disposeAll(placed);
  }
}

/** Of every row of `errors` [out, n] e M eᵀ → `costs` [out, 1]. */
function costGraph(out: number, n: number): Graph {
  const graph = new Graph();
  const errors = graph.input('errors', [out, n]);
  const product = op.gemm(errors, graph.input('moment', [n, n]));
  graph.output('costs', op.reduceSum(op.mul(product, errors), [1]));
  return graph;
}

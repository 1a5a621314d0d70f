/** Matrices times the inverse of a moment that has been factored. */
import { CancelledError } from '../errors.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import { chunked, columnsOf, fromChunks, panelOf, timesRows, toChunks, type Chunked } from './columns.js';
import type { Factored } from './moment-factor.js';

/**
 * X · M⁻¹ for X [rows, n], its columns in their own order: forwards through U, then backwards through Uᵀ.
 */
export async function timesInverse(
  programs: Programs,
  data: Float32Array,
  rows: number,
  { order, upper, inverses }: Factored,
  signal: AbortSignal,
): Promise<Float32Array> {
  const { runtime } = programs;
  const n = order.length;
  const panel = panelOf(n);
  const x = toChunks(data, rows, order);
  const label = `panel ${rows}×${panel}`;
  const forwards = await programs.getBuilt(panelGraph, [rows, panel, false], label, { keep: false });
  const backwards = await programs.getBuilt(panelGraph, [rows, panel, true], label, { keep: false });
  /** X, replaced by Y with Y U = X, then by Z with Z Uᵀ = Y: what is not yet replaced counts as zero in products. */
  let right = x;
  for (const program of [forwards, backwards]) {
    const isBack = program === backwards;
    const solved = chunked(rows, n);
    for (let i = 0; i < inverses.length; i++) {
      if (signal.aborted) throw new CancelledError();
      const at = isBack ? inverses.length - 1 - i : i;
      const start = at * panel;
      const sum = isBack
        ? await timesRows(programs, solved, upper, start, panel)
        : await timesRows(programs, solved, transposedColumns(upper, start, panel), 0, panel);
      const outputs = await program.run({
        own: runtime.tensor(columnsOf(right, start, panel, rows), [rows, panel]),
        sum: runtime.tensor(sum, [rows, panel]),
        inverse: runtime.tensor(inverses[at]!, [panel, panel]),
      });
      setColumns(solved, start, panel, await runtime.read(outputs.solved!));
    }
    right = solved;
  }
  return fromChunks(right, order);
}

/** (`own` − `sum`) [rows, panel] · `inverse` [panel, panel], or its transpose → `solved`. */
function panelGraph(rows: number, panel: number, transB: boolean): Graph {
  const graph = new Graph();
  const left = op.sub(graph.input('own', [rows, panel]), graph.input('sum', [rows, panel]));
  graph.output('solved', op.gemm(left, graph.input('inverse', [panel, panel]), { transB }));
  return graph;
}

/** Columns `start` to `start + count` of U as rows, cut into chunks: [count, n]. */
function transposedColumns({ columns: n, perChunk, chunks }: Chunked, start: number, count: number): Chunked {
  const found = chunked(count, n);
  const own = chunks[Math.floor(start / perChunk)]!;
  const at = start % perChunk;
  for (let k = 0; k < Math.min(n, start + count); k++) {
    const into = found.chunks[Math.floor(k / perChunk)]!;
    for (let j = 0; j < count; j++) into[j * perChunk + (k % perChunk)] = own[k * perChunk + at + j]!;
  }
  return found;
}

function setColumns(
  { rows, perChunk, chunks }: Chunked,
  start: number,
  count: number,
  data: Float32Array,
): void {
  const chunk = chunks[Math.floor(start / perChunk)]!;
  const at = start % perChunk;
  for (let row = 0; row < rows; row++)
    chunk.set(data.subarray(row * count, (row + 1) * count), row * perChunk + at);
}

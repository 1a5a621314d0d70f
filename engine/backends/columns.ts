/** Matrices cut into chunks of columns, so that products take only the columns that they need, and shapes stay few. */
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import { inOrder } from './gather.js';

/** Rows of a factor, or columns of a weight, between two products (docs/METHOD.md, section 13). */
export const PANEL = 128;
/** Columns of a chunk at most. */
const MAX_CHUNK = 512;

/** A matrix [rows, columns] in chunks [rows, perChunk] of its columns, the last filled up with zeros. */
export interface Chunked {
  readonly rows: number;
  readonly columns: number;
  /** A multiple of `panelOf(columns)`. */
  readonly perChunk: number;
  readonly chunks: readonly Float32Array[];
}

export const panelOf = (columns: number): number => Math.min(PANEL, columns);

export function chunked(rows: number, columns: number): Chunked {
  const panel = panelOf(columns);
  const panels = Math.ceil(columns / panel);
  const count = Math.ceil((panels * panel) / MAX_CHUNK);
  const perChunk = panel * Math.ceil(panels / count);
  return {
    rows,
    columns,
    perChunk,
    chunks: Array.from({ length: count }, () => new Float32Array(rows * perChunk)),
  };
}

export const elementAt = ({ perChunk, chunks }: Chunked, row: number, column: number): number =>
  chunks[Math.floor(column / perChunk)]![row * perChunk + (column % perChunk)]!;

export const setElement = (
  { perChunk, chunks }: Chunked,
  row: number,
  column: number,
  value: number,
): void => {
  chunks[Math.floor(column / perChunk)]![row * perChunk + (column % perChunk)] = value;
};

/** A row-major matrix with its columns in another order: place i has column `order[i]`; and its rows in `rowOrder`, if given. */
export function toChunks(
  data: Float32Array,
  rows: number,
  order: Uint32Array,
  rowOrder?: Uint32Array,
): Chunked {
  const columns = order.length;
  const found = chunked(rows, columns);
  const { perChunk, chunks } = found;
  const arranged = inOrder(order);
  for (let row = 0; row < rows; row++) {
    const from = columns * (rowOrder ? rowOrder[row]! : row);
    const line = arranged(data.subarray(from, from + columns));
    for (const [c, chunk] of chunks.entries())
      chunk.set(line.subarray(c * perChunk, (c + 1) * perChunk), row * perChunk);
  }
  return found;
}

/** The inverse of `toChunks`: [rows, columns], row-major. */
export function fromChunks({ rows, columns, perChunk, chunks }: Chunked, order: Uint32Array): Float32Array {
  const data = new Float32Array(rows * columns);
  for (const [c, chunk] of chunks.entries()) {
    const first = c * perChunk;
    const end = Math.min(columns, first + perChunk);
    for (let row = 0; row < rows; row++)
      for (let i = first; i < end; i++) data[row * columns + order[i]!] = chunk[row * perChunk + i - first]!;
  }
  return data;
}

/** Rows `start` to `start + count` of a chunk [count, perChunk], filled up with zeros where they end before. */
export function rowsOf(
  { rows, perChunk }: Chunked,
  chunk: Float32Array,
  start: number,
  count: number,
): Float32Array {
  const found = chunk.subarray(start * perChunk, Math.min(rows, start + count) * perChunk);
  if (found.length === count * perChunk) return found;
  const filled = new Float32Array(count * perChunk);
  filled.set(found);
  return filled;
}

/** Columns `start` to `start + count` of the rows from `first` to `end`, [end − first, count], filled up with zeros. */
export function columnsOf(
  { perChunk, chunks }: Chunked,
  start: number,
  count: number,
  end: number,
  first = 0,
): Float32Array {
  const chunk = chunks[Math.floor(start / perChunk)]!;
  const at = start % perChunk;
  const found = new Float32Array((end - first) * count);
  for (let row = first; row < end; row++)
    found.set(chunk.subarray(row * perChunk + at, row * perChunk + at + count), (row - first) * count);
  return found;
}

/**
 * left · rightᵀ, added up chunk by chunk: `left` [rows, n], and of `right` [m, n] the `panel` rows from `start` on →
 * [rows, panel].
 */
export async function timesRows(
  programs: Programs,
  left: Chunked,
  right: Chunked,
  start: number,
  panel: number,
): Promise<Float32Array> {
  const { rows, perChunk } = left;
  const program = await programs.getBuilt(
    addProductGraph,
    [rows, perChunk, panel],
    `products ${rows}×${perChunk}×${panel}`,
    {
      keep: false,
    },
  );
  const { runtime } = programs;
  let sum = new Float32Array(rows * panel);
  for (const [c, chunk] of left.chunks.entries()) {
    const outputs = await program.run({
      left: runtime.tensor(chunk, [rows, perChunk]),
      right: runtime.tensor(rowsOf(right, right.chunks[c]!, start, panel), [panel, perChunk]),
      sum: runtime.tensor(sum, [rows, panel]),
    });
    sum = (await runtime.read(outputs.next!)) as Float32Array<ArrayBuffer>;
  }
  return sum;
}

/** `left` [rows, perChunk] · `right` [panel, perChunk]ᵀ + `sum` [rows, panel] → `next`. */
function addProductGraph(rows: number, perChunk: number, panel: number): Graph {
  const graph = new Graph();
  const left = graph.input('left', [rows, perChunk]);
  const right = graph.input('right', [panel, perChunk]);
  graph.output('next', op.gemm(left, right, { transB: true, c: graph.input('sum', [rows, panel]) }));
  return graph;
}

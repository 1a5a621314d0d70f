/** Matrices cut into chunks of columns, so that products take only the columns that they need, and shapes stay few. */
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Programs } from '../../runtime/programs.js';

/** Rows of a factor, or columns of a weight, between two products (docs/METHOD.md, section 11). */
export const PANEL = 64;
/** Columns of a chunk at most. */
const MAX_CHUNK = 1024;

/** A matrix [rows, columns] in chunks [rows, width] of its columns, the last filled up with zeros. */
export interface Chunked {
  readonly rows: number;
  readonly columns: number;
  /** A multiple of `panelOf(columns)`. */
  readonly width: number;
  readonly chunks: readonly Float32Array[];
}

export const panelOf = (columns: number): number => Math.min(PANEL, columns);

export function chunked(rows: number, columns: number): Chunked {
  const panel = panelOf(columns);
  const panels = Math.ceil(columns / panel);
  const count = Math.ceil((panels * panel) / MAX_CHUNK);
  const width = panel * Math.ceil(panels / count);
  return {
    rows,
    columns,
    width,
    chunks: Array.from({ length: count }, () => new Float32Array(rows * width)),
  };
}

/** A row-major matrix with its columns in another order: place i has column `order[i]`. */
export function toChunks(data: ArrayLike<number>, rows: number, order: Uint32Array): Chunked {
  const columns = order.length;
  const found = chunked(rows, columns);
  const { width, chunks } = found;
  for (const [c, chunk] of chunks.entries()) {
    const first = c * width;
    const end = Math.min(columns, first + width);
    for (let row = 0; row < rows; row++)
      for (let i = first; i < end; i++) chunk[row * width + i - first] = data[row * columns + order[i]!]!;
  }
  return found;
}

/** The inverse of `toChunks`: [rows, columns], row-major. */
export function fromChunks({ rows, columns, width, chunks }: Chunked, order: Uint32Array): Float32Array {
  const data = new Float32Array(rows * columns);
  for (const [c, chunk] of chunks.entries()) {
    const first = c * width;
    const end = Math.min(columns, first + width);
    for (let row = 0; row < rows; row++)
      for (let i = first; i < end; i++) data[row * columns + order[i]!] = chunk[row * width + i - first]!;
  }
  return data;
}

/** Rows `start` to `start + count` of a chunk [count, width], filled up with zeros where they end before. */
export function rowsOf(
  { rows, width }: Chunked,
  chunk: Float32Array,
  start: number,
  count: number,
): Float32Array {
  const found = chunk.subarray(start * width, Math.min(rows, start + count) * width);
  if (found.length === count * width) return found;
  const filled = new Float32Array(count * width);
  filled.set(found);
  return filled;
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
  const { rows, width } = left;
  const program = await programs.getBuilt(
    addProductGraph,
    [rows, width, panel],
    `products ${rows}×${width}×${panel}`,
    {
      keep: false,
    },
  );
  const { runtime } = programs;
  let sum = new Float32Array(rows * panel);
  for (const [c, chunk] of left.chunks.entries()) {
    const outputs = await program.run({
      left: runtime.tensor(chunk, [rows, width]),
      right: runtime.tensor(rowsOf(right, right.chunks[c]!, start, panel), [panel, width]),
      sum: runtime.tensor(sum, [rows, panel]),
    });
    sum = (await runtime.read(outputs.next!)) as Float32Array<ArrayBuffer>;
  }
  return sum;
}

/** `left` [rows, width] · `right` [panel, width]ᵀ + `sum` [rows, panel] → `next`. */
function addProductGraph(rows: number, width: number, panel: number): Graph {
  const graph = new Graph();
  const left = graph.input('left', [rows, width]);
  const right = graph.input('right', [panel, width]);
  graph.output('next', op.gemm(left, right, { transB: true, c: graph.input('sum', [rows, panel]) }));
  return graph;
}

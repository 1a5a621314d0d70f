/** The triangular factor of a second moment, by panels: what is left to the host is the square on the diagonal. */
import { CancelledError, UserError } from '../errors.js';
import { requireFinite } from '../execution/finite.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import { chunked, fromChunks, panelOf, timesRows, toChunks, type Chunked } from './columns.js';

/** So far damping is raised, tenfold each time (docs/METHOD.md, section 13). */
const MAX_DAMPING = 100;

/**
 * M = H + λI with its columns in another order, and U upper triangular with UᵀU = M. Columns are rounded from the last
 * place to the first: U_jj² is what an error of the column at place j costs once those before it in the order, which are
 * rounded after it, have made up for it.
 */
export interface Factored {
  /** The column at each place: by rising H_jj, so that the one that matters most is rounded first. */
  readonly order: Uint32Array;
  /** [n, n] */
  readonly moment: Chunked;
  /** [n, n], of which nothing but the upper triangle is not zero. */
  readonly upper: Chunked;
  /** The inverses of U's squares on the diagonal, each [panel, panel]. */
  readonly inverses: readonly Float32Array[];
  /** Inputs that were never active. */
  readonly dead: ReadonlySet<number>;
}

export interface FactorHooks {
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
}

/**
 * λ is `damping` times the mean diagonal of the live inputs, and ten times as much, with a note, each time that is too
 * little for M to be positive definite. An input that was never active has the mean on the diagonal, and counts for
 * nothing else.
 * @param hessian H [n, n], symmetric, up to a factor, which changes nothing that is made of U
 * @param layer names it in messages
 */
export async function factorMoment(
  programs: Programs,
  hessian: Float32Array,
  n: number,
  damping: number,
  layer: string,
  { signal, note }: FactorHooks,
): Promise<Factored> {
  requireFinite(hessian, layer);
  const diagonal = Float64Array.from({ length: n }, (_, i) => hessian[i * n + i]!);
  const dead = new Set([...diagonal.keys()].filter((i) => diagonal[i] === 0));
  const live = n - dead.size;
  const mean = live > 0 ? diagonal.reduce((sum, x) => sum + x, 0) / live : 1;
  const order = byRisingDiagonal(diagonal);
  for (let share = damping; share <= MAX_DAMPING; share *= 10) {
    const moment = toChunks(hessian, n, order);
    placeRows(moment, order, (place) => (diagonal[order[place]!]! || mean) + share * mean);
    const found = await factorize(programs, moment, signal);
    if (found) return { order, moment, dead, ...found };
    if (share * 10 <= MAX_DAMPING)
      note(
        `${layer}: damping of ${percent(share)} is too little for its inputs' second moments; trying ${percent(share * 10)}.`,
      );
  }
  throw new UserError(
    `${layer}: the second moments of its inputs cannot be factored; calibrate on more, or other, data.`,
  );
}

const percent = (share: number) => `${Number((100 * share).toPrecision(3))} %`;

/** Of equal ones, the column that comes first is placed last, to be rounded first. */
function byRisingDiagonal(diagonal: Float64Array): Uint32Array {
  return Uint32Array.from(diagonal.keys()).sort((a, b) => diagonal[a]! - diagonal[b]! || b - a);
}

/** Puts the rows of a symmetric matrix in the order of its columns, with another diagonal. */
function placeRows(
  { columns, perChunk, chunks }: Chunked,
  order: Uint32Array,
  diagonal: (place: number) => number,
): void {
  for (const [c, chunk] of chunks.entries()) {
    const before = chunk.slice();
    for (let i = 0; i < columns; i++)
      chunk.set(before.subarray(order[i]! * perChunk, (order[i]! + 1) * perChunk), i * perChunk);
    for (let j = c * perChunk; j < Math.min(columns, (c + 1) * perChunk); j++)
      chunk[j * perChunk + j - c * perChunk] = diagonal(j);
  }
}

/** U and the inverses of its diagonal squares, from the first row to the last; undefined where M is not positive definite. */
async function factorize(
  programs: Programs,
  moment: Chunked,
  signal: AbortSignal,
): Promise<Pick<Factored, 'upper' | 'inverses'> | undefined> {
  const { runtime } = programs;
  const { columns: n, perChunk } = moment;
  const panel = panelOf(n);
  const upper = chunked(n, n);
  const inverses: Float32Array[] = [];
  const solve = await programs.getBuilt(solveGraph, [panel, perChunk], `solve ${panel}×${perChunk}`, {
    keep: false,
  });
  for (let start = 0; start < n; start += panel) {
    if (signal.aborted) throw new CancelledError();
    const rows = Math.min(panel, n - start);
    const first = Math.floor(start / perChunk);
    const before = columnsOf(upper, start, panel, start);
    const left: Float32Array[] = [];
    for (let c = first; c < upper.chunks.length; c++) {
      const own = new Float32Array(panel * perChunk);
      own.set(moment.chunks[c]!.subarray(start * perChunk, (start + rows) * perChunk));
      left.push(start === 0 ? own : await subtracted(own, upper.chunks[c]!));
    }
    const at = start - first * perChunk;
    const square = new Float64Array(panel * panel);
    for (let i = 0; i < panel; i++)
      for (let j = i; j < panel; j++)
        square[i * panel + j] = i < rows && j < rows ? left[0]![i * perChunk + at + j]! : Number(i === j);
    if (!factorSquare(square, panel)) return undefined;
    const inverse = Float32Array.from(inverted(square, panel));
    inverses.push(inverse);
    for (const [i, residual] of left.entries()) {
      const outputs = await solve.run({
        inverse: runtime.tensor(inverse, [panel, panel]),
        left: runtime.tensor(residual, [panel, perChunk]),
      });
      const chunk = upper.chunks[first + i]!;
      chunk.set((await runtime.read(outputs.rows!)).subarray(0, rows * perChunk), start * perChunk);
    }
    const own = upper.chunks[first]!;
    for (let i = 0; i < rows; i++) {
      own.fill(0, (start + i) * perChunk, (start + i) * perChunk + at);
      for (let j = 0; j < rows; j++)
        own[(start + i) * perChunk + at + j] = j < i ? 0 : square[i * panel + j]!;
    }

    async function subtracted(a: Float32Array, chunk: Float32Array): Promise<Float32Array> {
      const shape = [start, panel, perChunk] as const;
      const program = await programs.getBuilt(residualGraph, shape, `factor ${shape.join('×')}`, {
        keep: false,
      });
      const outputs = await program.run({
        a: runtime.tensor(a, [panel, perChunk]),
        before: runtime.tensor(before, [start, panel]),
        chunk: runtime.tensor(chunk.subarray(0, start * perChunk), [start, perChunk]),
      });
      return runtime.read(outputs.left!);
    }
  }
  return { upper, inverses };
}

/** Columns `start` to `start + count` of the first `rows` rows, [rows, count], filled up with zeros. */
function columnsOf({ perChunk, chunks }: Chunked, start: number, count: number, rows: number): Float32Array {
  const chunk = chunks[Math.floor(start / perChunk)]!;
  const at = start % perChunk;
  const found = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++)
    found.set(chunk.subarray(row * perChunk + at, row * perChunk + at + count), row * count);
  return found;
}

/** `a` [panel, perChunk] − `before` [rows, panel]ᵀ · `chunk` [rows, perChunk] → `left`. */
function residualGraph(rows: number, panel: number, perChunk: number): Graph {
  const graph = new Graph();
  const product = op.gemm(graph.input('before', [rows, panel]), graph.input('chunk', [rows, perChunk]), {
    transA: true,
  });
  graph.output('left', op.sub(graph.input('a', [panel, perChunk]), product));
  return graph;
}

/** `inverse` [panel, panel]ᵀ · `left` [panel, perChunk] → `rows`. */
function solveGraph(panel: number, perChunk: number): Graph {
  const graph = new Graph();
  const inverse = graph.input('inverse', [panel, panel]);
  graph.output('rows', op.gemm(inverse, graph.input('left', [panel, perChunk]), { transA: true }));
  return graph;
}

/** Replaces the upper triangle of a symmetric matrix A [n, n] by U with UᵀU = A; false where a pivot is not positive. */
function factorSquare(a: Float64Array, n: number): boolean {
  for (let k = 0; k < n; k++) {
    const pivot = Math.sqrt(a[k * n + k]!);
    if (!(pivot > 0 && pivot < Infinity)) return false;
    for (let j = k; j < n; j++) a[k * n + j]! /= pivot;
    for (let i = k + 1; i < n; i++) {
      const share = a[k * n + i]!;
      if (share !== 0) for (let j = i; j < n; j++) a[i * n + j]! -= share * a[k * n + j]!;
    }
  }
  return true;
}

/** The inverse of an upper triangular matrix [n, n]. */
function inverted(u: Float64Array, n: number): Float64Array {
  const found = new Float64Array(n * n);
  for (let row = n - 1; row >= 0; row--) {
    const pivot = u[row * n + row]!;
    found[row * n + row] = 1 / pivot;
    for (let k = row + 1; k < n; k++) {
      const share = u[row * n + k]! / pivot;
      if (share !== 0) for (let j = k; j < n; j++) found[row * n + j]! -= share * found[k * n + j]!;
    }
  }
  return found;
}

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

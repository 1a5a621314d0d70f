/** The triangular factor of a second moment, by panels: what is left to the host is the square on the diagonal. */
import { CancelledError, UserError } from '../errors.js';
import { requireFinite } from '../execution/finite.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import { chunked, columnsOf, panelOf, rowsOf, setElement, toChunks, type Chunked } from './columns.js';
import { factorSquare } from './square.js';

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
    const moment = toChunks(hessian, n, order, order);
    for (const [place, column] of order.entries())
      setElement(moment, place, place, (diagonal[column]! || mean) + share * mean);
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

/** Rows of U that a product takes at once at most, so that shapes stay few. */
const MAX_ROWS = 1024;

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
  const none = new Float32Array(panel * perChunk);
  for (let start = 0; start < n; start += panel) {
    if (signal.aborted) throw new CancelledError();
    const rows = Math.min(panel, n - start);
    const first = Math.floor(start / perChunk);
    const before = columnsOf(upper, start, panel, start);
    const sums: Float32Array[] = [];
    for (let c = first; c < upper.chunks.length; c++) sums.push(await madeBy(before, upper.chunks[c]!));
    const at = start - first * perChunk;
    const square = new Float64Array(panel * panel);
    const own = moment.chunks[first]!;
    for (let i = 0; i < panel; i++)
      for (let j = i; j < panel; j++) {
        const place = i * perChunk + at + j;
        square[i * panel + j] =
          j < rows ? Math.fround(own[start * perChunk + place]! - sums[0]![place]!) : Number(i === j);
      }
    const factored = factorSquare(square, panel);
    if (!factored) return undefined;
    const inverse = Float32Array.from(factored.inverse);
    inverses.push(inverse);
    for (const [i, sum] of sums.entries()) {
      const outputs = await solve.run({
        inverse: runtime.tensor(inverse, [panel, panel]),
        own: runtime.tensor(rowsOf(moment, moment.chunks[first + i]!, start, panel), [panel, perChunk]),
        sum: runtime.tensor(sum, [panel, perChunk]),
      });
      const chunk = upper.chunks[first + i]!;
      chunk.set((await runtime.read(outputs.rows!)).subarray(0, rows * perChunk), start * perChunk);
    }
    for (let i = 0; i < rows; i++) {
      const line = upper.chunks[first]!.subarray((start + i) * perChunk, (start + i + 1) * perChunk);
      line.fill(0, 0, at).set(factored.upper.subarray(i * panel, i * panel + rows), at);
    }
  }
  return { upper, inverses };

  /** What rows of U already make of rows of M: `before` [rows, panel]ᵀ times the first of these rows of a chunk. */
  async function madeBy(before: Float32Array, chunk: Float32Array): Promise<Float32Array> {
    let sum = none;
    for (let from = 0; from * panel < before.length; from += MAX_ROWS) {
      const rows = Math.min(MAX_ROWS, before.length / panel - from);
      const shape = [rows, panel, perChunk] as const;
      const program = await programs.getBuilt(addMadeGraph, shape, `factor ${shape.join('×')}`, {
        keep: false,
      });
      const outputs = await program.run({
        before: runtime.tensor(before.subarray(from * panel, (from + rows) * panel), [rows, panel]),
        chunk: runtime.tensor(chunk.subarray(from * perChunk, (from + rows) * perChunk), [rows, perChunk]),
        sum: runtime.tensor(sum, [panel, perChunk]),
      });
      sum = (await runtime.read(outputs.next!)) as Float32Array<ArrayBuffer>;
    }
    return sum;
  }
}

/** `before` [rows, panel]ᵀ · `chunk` [rows, perChunk] + `sum` [panel, perChunk] → `next`. */
function addMadeGraph(rows: number, panel: number, perChunk: number): Graph {
  const graph = new Graph();
  const [before, chunk] = [graph.input('before', [rows, panel]), graph.input('chunk', [rows, perChunk])];
  const sum = graph.input('sum', [panel, perChunk]);
  graph.output('next', op.gemm(before, chunk, { transA: true, c: sum }));
  return graph;
}

/** `inverse` [panel, panel]ᵀ · (`own` − `sum`) [panel, perChunk] → `rows`. */
function solveGraph(panel: number, perChunk: number): Graph {
  const graph = new Graph();
  const left = op.sub(graph.input('own', [panel, perChunk]), graph.input('sum', [panel, perChunk]));
  graph.output('rows', op.gemm(graph.input('inverse', [panel, panel]), left, { transA: true }));
  return graph;
}

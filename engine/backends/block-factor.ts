/** The Cholesky factor of a large matrix by blocks of rows: what is left to the host is the squares on the diagonal. */
import { CancelledError } from '../errors.js';
import { Graph, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import { chunked, columnsOf, panelOf, rowsOf, type Chunked } from './columns.js';
import { factorSquare } from './square.js';

/** U, and the inverses of its squares on the diagonal, each [panel, panel]. */
export interface Factor {
  readonly upper: Chunked;
  readonly inverses: readonly Float32Array[];
}

/** Rows of U that a product takes at once at most, so that shapes stay few. */
const MAX_ROWS = 2048;

/**
 * U upper triangular with UᵀU = M, a block of rows after the other, as high as a chunk is wide: a product for what the rows
 * above make of M, then panel after panel. Sums are in the order of rows whatever the blocks. Undefined where M is not
 * positive definite.
 * @param moment M [n, n], symmetric
 */
export async function factorBlocks(
  programs: Programs,
  moment: Chunked,
  signal: AbortSignal,
): Promise<Factor | undefined> {
  const { runtime } = programs;
  const { columns: n, perChunk } = moment;
  const panel = panelOf(n);
  const upper = chunked(n, n);
  const inverses: Float32Array[] = [];
  const zeros = new Float32Array(perChunk ** 2);
  for (let block = 0; block < upper.chunks.length; block++) {
    if (signal.aborted) throw new CancelledError();
    const own = await factorDiagonal(programs, moment, upper, block, await madeAbove(block, block));
    if (!own) return undefined;
    inverses.push(...own);
    if (block + 1 === upper.chunks.length) break;
    const shape = [perChunk, panel] as const;
    const solve = await programs.getBuilt(solveBlockGraph, shape, `solve ${shape.join('×')}`, {
      keep: false,
    });
    const lines = (chunk: Float32Array) =>
      runtime.tensor(rowsOf(moment, chunk, block * perChunk, perChunk), [perChunk, perChunk]);
    const shared = {
      square: lines(upper.chunks[block]!),
      ...Object.fromEntries(own.map((x, i) => [inverseName(i), runtime.tensor(x, [panel, panel])])),
    };
    for (let c = block + 1; c < upper.chunks.length; c++) {
      const sum = runtime.tensor(await madeAbove(block, c), [perChunk, perChunk]);
      const outputs = await solve.run({ ...shared, own: lines(moment.chunks[c]!), sum });
      upper.chunks[c]!.set(await runtime.read(outputs.rows!), block * perChunk ** 2);
    }
  }
  return { upper, inverses };

  /** What the rows of U above a block make of its rows of M, in the columns of chunk `c`: [perChunk, perChunk]. */
  async function madeAbove(block: number, c: number): Promise<Float32Array> {
    const most = Math.floor(MAX_ROWS / perChunk) * perChunk;
    const [left, right] = [upper.chunks[block]!, upper.chunks[c]!];
    let sum: Float32Array = zeros;
    for (let start = 0; start < block * perChunk; start += most) {
      const rows = Math.min(most, block * perChunk - start);
      const of = (chunk: Float32Array) => rowsOf(upper, chunk, start, rows);
      sum = await addMade(programs, of(left), of(right), perChunk, perChunk, sum);
    }
    return sum;
  }
}

/**
 * The rows of U in a block, in the columns of the chunk that its diagonal crosses, panel after panel.
 * @param above what rows above the block make of it @returns the inverses of its squares
 */
async function factorDiagonal(
  programs: Programs,
  moment: Chunked,
  upper: Chunked,
  block: number,
  above: Float32Array,
): Promise<Float32Array[] | undefined> {
  const { runtime } = programs;
  const { columns: n, perChunk } = moment;
  const panel = panelOf(n);
  const [own, chunk] = [moment.chunks[block]!, upper.chunks[block]!];
  const shape = [panel, perChunk] as const;
  const solve = await programs.getBuilt(solveGraph, shape, `solve ${shape.join('×')}`, { keep: false });
  const first = block * perChunk;
  const inverses: Float32Array[] = [];
  for (let start = first; start < Math.min(n, first + perChunk); start += panel) {
    const rows = Math.min(panel, n - start);
    const at = start - first;
    const before = columnsOf(upper, start, panel, start).subarray(first * panel);
    const behind = chunk.subarray(first * perChunk, start * perChunk);
    let sum: Float32Array = above.subarray(at * perChunk, (at + panel) * perChunk);
    if (at > 0) sum = await addMade(programs, before, behind, panel, perChunk, sum);
    const square = new Float64Array(panel * panel);
    for (let i = 0; i < panel; i++)
      for (let j = i; j < panel; j++) {
        const place = i * perChunk + at + j;
        square[i * panel + j] =
          j < rows ? Math.fround(own[start * perChunk + place]! - sum[place]!) : Number(i === j);
      }
    const factored = factorSquare(square, panel);
    if (!factored) return undefined;
    const inverse = new Float32Array(factored.inverse);
    inverses.push(inverse);
    const outputs = await solve.run({
      inverse: runtime.tensor(inverse, [panel, panel]),
      own: runtime.tensor(rowsOf(moment, own, start, panel), [panel, perChunk]),
      sum: runtime.tensor(sum, [panel, perChunk]),
    });
    chunk.set((await runtime.read(outputs.rows!)).subarray(0, rows * perChunk), start * perChunk);
    for (let i = 0; i < rows; i++) {
      const line = chunk.subarray((start + i) * perChunk, (start + i + 1) * perChunk);
      line.fill(0, 0, at).set(factored.upper.subarray(i * panel, i * panel + rows), at);
    }
  }
  return inverses;
}

/** `before` [rows, width]ᵀ · `chunk` [rows, perChunk] + `sum` [width, perChunk]. */
async function addMade(
  programs: Programs,
  before: Float32Array,
  chunk: Float32Array,
  width: number,
  perChunk: number,
  sum: Float32Array,
): Promise<Float32Array> {
  const { runtime } = programs;
  const rows = before.length / width;
  const shape = [rows, width, perChunk] as const;
  const program = await programs.getBuilt(addMadeGraph, shape, `factor ${shape.join('×')}`, { keep: false });
  const outputs = await program.run({
    before: runtime.tensor(before, [rows, width]),
    chunk: runtime.tensor(chunk, [rows, perChunk]),
    sum: runtime.tensor(sum, [width, perChunk]),
  });
  return runtime.read(outputs.next!);
}

function addMadeGraph(rows: number, width: number, perChunk: number): Graph {
  const graph = new Graph();
  const [before, chunk] = [graph.input('before', [rows, width]), graph.input('chunk', [rows, perChunk])];
  const sum = graph.input('sum', [width, perChunk]);
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

const inverseName = (i: number): string => `inverse.${i}`;

/**
 * The rows X of U in a block behind its diagonal `square` [size, size]: squareᵀ X = `own` − `sum` [size, size], by panels of
 * which the inverses are known → `rows`.
 */
function solveBlockGraph(size: number, panel: number): Graph {
  const graph = new Graph();
  const square = graph.input('square', [size, size]);
  const lengths = Array.from({ length: size / panel }, () => panel);
  const own = op.split(graph.input('own', [size, size]), lengths, 0);
  const sums = op.split(graph.input('sum', [size, size]), lengths, 0);
  const rows: Value[] = [];
  for (const [i, above] of sums.entries()) {
    let sum = above;
    if (i > 0) {
      const before = op.slice(op.slice(square, 0, 0, i * panel), 1, i * panel, (i + 1) * panel);
      sum = op.gemm(before, op.concat([...rows], 0), { transA: true, c: above });
    }
    const inverse = graph.input(inverseName(i), [panel, panel]);
    rows.push(op.gemm(inverse, op.sub(own[i]!, sum), { transA: true }));
  }
  graph.output('rows', op.concat(rows, 0));
  return graph;
}

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
  const { columns: n, perChunk } = moment;
  const upper = chunked(n, n);
  const own: Own = { programs, moment, upper, panel: panelOf(n) };
  const rooms = [new Float32Array(perChunk ** 2), new Float32Array(perChunk ** 2)] as const;
  const inverses: Float32Array[] = [];
  for (let block = 0; block < upper.chunks.length; block++) {
    if (signal.aborted) throw new CancelledError();
    const found = await factorDiagonal(own, block, await madeAbove(own, block, block, rooms));
    if (!found) return undefined;
    inverses.push(...found);
    for (let c = block + 1; c < upper.chunks.length; c++)
      await solveBehind(own, block, c, await madeAbove(own, block, c, rooms), found);
  }
  return { upper, inverses };
}

interface Own {
  readonly programs: Programs;
  readonly moment: Chunked;
  readonly upper: Chunked;
  readonly panel: number;
}

/**
 * What the rows of U above a block make of its rows of M, in the columns of chunk `c`: [perChunk, perChunk], in one of the
 * rooms; undefined where there are none. Of the square on the diagonal, numbers below it mean nothing.
 */
async function madeAbove(
  { programs, upper }: Own,
  block: number,
  c: number,
  rooms: readonly [Float32Array, Float32Array],
): Promise<Float32Array | undefined> {
  const { runtime } = programs;
  const { perChunk } = upper;
  const most = Math.floor(MAX_ROWS / perChunk) * perChunk;
  let sum: Float32Array | undefined;
  for (let start = 0; start < block * perChunk; start += most) {
    const rows = Math.min(most, block * perChunk - start);
    const of = (chunk: number) =>
      runtime.tensor(rowsOf(upper, upper.chunks[chunk]!, start, rows), [rows, perChunk]);
    const square = (data: Float32Array) => runtime.tensor(data, [perChunk, perChunk]);
    const shape = [rows, perChunk, sum !== undefined] as const;
    const build = block === c ? aboveDiagonalGraph : aboveGraph;
    const program = await programs.getBuilt(build, shape, `factor ${shape.join('×')}`, { keep: false });
    const outputs = await program.run(
      { before: of(block), chunk: of(c), ...(sum && { sum: square(sum) }) },
      { next: square(sum === rooms[0] ? rooms[1] : rooms[0]) },
    );
    sum = await runtime.read(outputs.next!);
  }
  return sum;
}

/**
 * The rows of U in a block, in the columns of the chunk that its diagonal crosses, panel after panel.
 * @param above what rows above the block make of it @returns the inverses of its squares
 */
async function factorDiagonal(
  { programs, moment, upper, panel }: Own,
  block: number,
  above: Float32Array | undefined,
): Promise<Float32Array[] | undefined> {
  const { runtime } = programs;
  const { columns: n, perChunk } = moment;
  const [own, chunk] = [moment.chunks[block]!, upper.chunks[block]!];
  const first = block * perChunk;
  const inverses: Float32Array[] = [];
  const rooms = [new Float32Array(panel * perChunk), new Float32Array(panel * perChunk)] as const;
  for (let start = first; start < Math.min(n, first + perChunk); start += panel) {
    const rows = Math.min(panel, n - start);
    const at = start - first;
    const width = perChunk - at;
    const shape = [at, panel, perChunk, above !== undefined] as const;
    const program = await programs.getBuilt(leftGraph, shape, `left ${shape.join('×')}`, { keep: false });
    const line = (data: Float32Array) => runtime.tensor(data, [panel, perChunk]);
    const outputs = await program.run(
      {
        own: line(rowsOf(moment, own, start, panel)),
        ...(above && { above: line(above.subarray(at * perChunk, (at + panel) * perChunk)) }),
        ...(at > 0 && {
          before: runtime.tensor(columnsOf(upper, start, panel, start, first), [at, panel]),
          behind: runtime.tensor(chunk.subarray(first * perChunk, start * perChunk), [at, perChunk]),
        }),
      },
      { left: runtime.tensor(rooms[0].subarray(0, panel * width), [panel, width]) },
    );
    const left = await runtime.read(outputs.left!);
    const square = new Float64Array(panel * panel);
    for (let i = 0; i < panel; i++)
      for (let j = i; j < panel; j++)
        square[i * panel + j] = j < rows ? left[i * width + j]! : Number(i === j);
    const factored = factorSquare(square, panel);
    if (!factored) return undefined;
    const inverse = new Float32Array(factored.inverse);
    inverses.push(inverse);
    for (let i = 0; i < rows; i++)
      chunk.set(factored.upper.subarray(i * panel, i * panel + rows), (start + i) * perChunk + at);
    if (width === panel) continue;
    const behind = await solvedRows(programs, inverse, left, panel, rooms[1]);
    for (let i = 0; i < rows; i++)
      chunk.set(
        behind.subarray(i * (width - panel), (i + 1) * (width - panel)),
        (start + i) * perChunk + at + panel,
      );
  }
  return inverses;
}

/** `inverse` [panel, panel]ᵀ · `left` [panel, width] without its first `panel` columns. @param room of as many, or more */
async function solvedRows(
  programs: Programs,
  inverse: Float32Array,
  left: Float32Array,
  panel: number,
  room: Float32Array,
): Promise<Float32Array> {
  const width = left.length / panel;
  const shape = [panel, width] as const;
  const program = await programs.getBuilt(solveGraph, shape, `solve ${shape.join('×')}`, { keep: false });
  const { runtime } = programs;
  const outputs = await program.run(
    { inverse: runtime.tensor(inverse, [panel, panel]), left: runtime.tensor(left, [panel, width]) },
    { rows: runtime.tensor(room.subarray(0, panel * (width - panel)), [panel, width - panel]) },
  );
  return runtime.read(outputs.rows!);
}

/** Puts the rows of U in a block where they are, in the columns of chunk `c` behind that of its diagonal. */
async function solveBehind(
  { programs, moment, upper, panel }: Own,
  block: number,
  c: number,
  above: Float32Array | undefined,
  inverses: readonly Float32Array[],
): Promise<void> {
  const { runtime } = programs;
  const { perChunk } = moment;
  const shape = [perChunk, panel, above !== undefined] as const;
  const program = await programs.getBuilt(behindGraph, shape, `solve ${shape.join('×')}`, { keep: false });
  const tensor = (data: Float32Array) => runtime.tensor(data, [perChunk, perChunk]);
  const lines = (chunk: Float32Array) => chunk.subarray(block * perChunk ** 2, (block + 1) * perChunk ** 2);
  const into = lines(upper.chunks[c]!);
  const outputs = await program.run(
    {
      square: tensor(lines(upper.chunks[block]!)),
      own: tensor(lines(moment.chunks[c]!)),
      ...(above && { above: tensor(above) }),
      ...Object.fromEntries(inverses.map((x, i) => [inverseName(i), runtime.tensor(x, [panel, panel])])),
    },
    { rows: tensor(into) },
  );
  const found = await runtime.read(outputs.rows!);
  if (found !== into) into.set(found);
}

/** `before` [rows, perChunk]ᵀ · `chunk` [rows, perChunk], and `sum` [perChunk, perChunk] if there is one → `next`. */
function aboveGraph(rows: number, perChunk: number, hasSum: boolean): Graph {
  const graph = new Graph();
  const [before, chunk] = [graph.input('before', [rows, perChunk]), graph.input('chunk', [rows, perChunk])];
  const c = hasSum ? graph.input('sum', [perChunk, perChunk]) : undefined;
  graph.output('next', op.gemm(before, chunk, { transA: true, ...(c && { c }) }));
  return graph;
}

/** The same for a square on the diagonal: what is left of the middle in the lower half, which nobody reads, is a filler. */
function aboveDiagonalGraph(rows: number, size: number, hasSum: boolean): Graph {
  const graph = new Graph();
  const half = Math.floor(size / 2);
  const [before, chunk] = [graph.input('before', [rows, size]), graph.input('chunk', [rows, size])];
  const sum = hasSum ? graph.input('sum', [size, size]) : undefined;
  const c = (value: Value | undefined) => value && { c: value };
  const upper = op.gemm(op.slice(before, 1, 0, half), chunk, {
    transA: true,
    ...c(sum && op.slice(sum, 0, 0, half)),
  });
  const right = (value: Value) => op.slice(value, 1, half, size);
  const lower = op.gemm(right(before), right(chunk), {
    transA: true,
    ...c(sum && right(op.slice(sum, 0, half, size))),
  });
  const filler = op.slice(chunk, 0, 0, size - half);
  graph.output('next', op.concat([upper, op.concat([op.slice(filler, 1, 0, half), lower], 1)], 0));
  return graph;
}

/**
 * What is left of a panel's rows of M, `own` [panel, perChunk], in the columns from its own, `at`, on, without what rows above
 * it make of them: `above` [panel, perChunk], and those that the block has before it, `before` [at, panel] in the panel's
 * columns and `behind` [at, perChunk] in all → `left` [panel, perChunk − at].
 */
function leftGraph(at: number, panel: number, perChunk: number, hasAbove: boolean): Graph {
  const graph = new Graph();
  const from = (value: Value) => (at > 0 ? op.slice(value, 1, at, perChunk) : value);
  const own = from(graph.input('own', [panel, perChunk]));
  let sum = hasAbove ? from(graph.input('above', [panel, perChunk])) : undefined;
  if (at > 0) {
    const [before, behind] = [graph.input('before', [at, panel]), graph.input('behind', [at, perChunk])];
    sum = op.gemm(before, from(behind), { transA: true, ...(sum && { c: sum }) });
  }
  graph.output('left', sum ? op.sub(own, sum) : op.reshape(own, [panel, perChunk]));
  return graph;
}

/** `inverse` [panel, panel]ᵀ · `left` [panel, width] from column `panel` on → `rows`. */
function solveGraph(panel: number, width: number): Graph {
  const graph = new Graph();
  const left = op.slice(graph.input('left', [panel, width]), 1, panel, width);
  graph.output('rows', op.gemm(graph.input('inverse', [panel, panel]), left, { transA: true }));
  return graph;
}

const inverseName = (i: number): string => `inverse.${i}`;

/**
 * The rows X of U in a block behind its diagonal `square` [size, size]: squareᵀ X = `own` − `above` [size, size], by panels of
 * which the inverses are known → `rows`.
 */
function behindGraph(size: number, panel: number, hasAbove: boolean): Graph {
  const graph = new Graph();
  const square = graph.input('square', [size, size]);
  const lengths = Array.from({ length: size / panel }, () => panel);
  const own = op.split(graph.input('own', [size, size]), lengths, 0);
  const sums = hasAbove ? op.split(graph.input('above', [size, size]), lengths, 0) : [];
  const rows: Value[] = [];
  for (const [i, line] of own.entries()) {
    let sum = sums[i];
    if (i > 0) {
      const before = op.slice(op.slice(square, 0, 0, i * panel), 1, i * panel, (i + 1) * panel);
      sum = op.gemm(before, op.concat([...rows], 0), { transA: true, ...(sum && { c: sum }) });
    }
    const inverse = graph.input(inverseName(i), [panel, panel]);
    rows.push(op.gemm(inverse, sum ? op.sub(line, sum) : line, { transA: true }));
  }
  graph.output('rows', op.concat(rows, 0));
  return graph;
}

/** Weights rounded one column after another, and what sweeps of coordinate descent make of the result. */
import { CancelledError } from '../../errors.js';
import type { Programs } from '../../runtime/programs.js';
import { inPhase } from '../phases.js';
import { panelOf, type Chunked } from '../../backends/columns.js';
import type { Factored } from '../../backends/moment-factor.js';
import { groupsOf, type Grids, type Layout } from './grids.js';
import { kernels, TILE } from './kernels.js';
import { productGraph } from '../../backends/corrected-weight.js';

/** Codes that a weight may take: from `first` on, `count` of them; by default all of the grid. */
export interface Allowed {
  /** [out, in] */
  readonly first: Uint8Array;
  readonly count: number;
}

/** A weight on its way to codes: of each column at its place a line of `rows`, which begins with its elements in all rows. */
export interface Rounding {
  readonly out: number;
  /** `out` filled up to a multiple of TILE, with zeros. */
  readonly rows: number;
  readonly layout: Layout;
  readonly grids: Grids;
  /** Group of the column at each place. */
  readonly groupAt: Uint32Array;
  /** W [in, rows] */
  readonly weight: Float32Array;
  readonly allowed: Allowed | undefined;
  /** [in, rows] */
  readonly codes: Uint8Array;
  /** W − Ŵ [in, rows] */
  readonly errors: Float32Array;
}

/** A rounding that has not begun. @param data W [out, in], its columns in their own order */
export function beginRounding(
  data: Float32Array,
  { order }: Pick<Factored, 'order'>,
  layout: Layout,
  grids: Grids,
  allowed?: Allowed,
): Rounding {
  const n = order.length;
  const out = data.length / n;
  const rows = Math.ceil(out / TILE) * TILE;
  const perGroup = layout.groupSize === -1 ? n : layout.groupSize;
  const weight = new Float32Array(n * rows);
  toLines(data, order, out, weight);
  return {
    ...{ out, rows, layout, grids, weight },
    groupAt: Uint32Array.from(order, (column) => Math.floor(column / perGroup)),
    allowed: allowed && linesOf(allowed, order, out, rows),
    codes: new Uint8Array(n * rows),
    errors: new Float32Array(n * rows),
  };
}

/** A rounding with its codes on other grids, as near to them as may be. @param allowed in the columns' own order */
export function continueRounding(
  { out, rows, layout, groupAt, weight, codes }: Rounding,
  { order }: Pick<Factored, 'order'>,
  grids: Grids,
  allowed?: Allowed,
): Rounding {
  const next: Rounding = {
    ...{ out, rows, layout, grids, groupAt, weight },
    allowed: allowed && linesOf(allowed, order, out, rows),
    codes: new Uint8Array(codes.length),
    errors: new Float32Array(codes.length),
  };
  const { groups, first, span, last } = rulesOf(next);
  for (const [i, group] of groupAt.entries())
    for (let row = 0; row < out; row++) {
      const at = i * rows + row;
      const least = first ? first[at]! : 0;
      const code = Math.min(Math.max(codes[at]!, least), least + span, last);
      next.codes[at] = code;
      const grid = row * groups + group;
      next.errors[at] = weight[at]! - Math.fround(grids.scale[grid]! * (code - grids.zero[grid]!));
    }
  return next;
}

/** Codes with their columns in their own order, [out, in]. */
export const codesOf = ({ out, rows, codes }: Rounding, order: Uint32Array): Uint8Array =>
  fromLines(codes, order, out, rows, new Uint8Array(order.length * out));

/** W − Ŵ with its columns in their own order, [out, in]. */
export const errorsOf = ({ out, rows, errors }: Rounding, order: Uint32Array): Float32Array =>
  fromLines(errors, order, out, rows, new Float32Array(order.length * out));

const linesOf = ({ first, count }: Allowed, order: Uint32Array, out: number, rows: number): Allowed => {
  const lines = new Uint8Array(order.length * rows);
  toLines(first, order, out, lines);
  return { first: lines, count };
};

/** Puts a matrix [out, in] into lines [in, rows], columns at their places: a few rows at a time, which stay in the cache. */
function toLines<A extends Float32Array | Uint8Array>(
  data: A,
  order: Uint32Array,
  out: number,
  lines: A,
): void {
  const n = order.length;
  const rows = lines.length / n;
  for (let first = 0; first < out; first += TILE) {
    const end = Math.min(out, first + TILE);
    for (let i = 0; i < n; i++)
      for (let row = first; row < end; row++) lines[i * rows + row] = data[row * n + order[i]!]!;
  }
}

/** The inverse of `toLines`. */
function fromLines<A extends Float32Array | Uint8Array>(
  lines: A,
  order: Uint32Array,
  out: number,
  rows: number,
  data: A,
): A {
  const n = order.length;
  for (let first = 0; first < out; first += TILE) {
    const end = Math.min(out, first + TILE);
    for (let i = 0; i < n; i++)
      for (let row = first; row < end; row++) data[row * n + order[i]!] = lines[i * rows + row]!;
  }
  return data;
}

/**
 * Rounds every column where it leaves the least error to those rounded before it: with M = UᵀU, the error of a row,
 * (w − ŵ) M (w − ŵ)ᵀ, is Σ_j (Σ_{i≥j} U_ji (w_i − ŵ_i))², and column j makes its term least at w_j + Σ_{i>j} U_ji (w_i −
 * ŵ_i) / U_jj. This is GPTQ (Frantar et al. 2023) with its columns in this order. Nothing has been rounded before.
 */
export const feedback = (
  programs: Programs,
  rounding: Rounding,
  { upper }: Pick<Factored, 'upper'>,
  signal: AbortSignal,
): Promise<void> =>
  inPhase('feedback', () => sweep(programs, rounding, upper, true, signal), inPanels(rounding));

/**
 * One sweep of coordinate descent (QuantEase, CDQuant): each column in the same order takes the code with which the error
 * of its row is least while the others stay, which never raises it.
 */
export const descend = (
  programs: Programs,
  rounding: Rounding,
  { moment }: Pick<Factored, 'moment'>,
  signal: AbortSignal,
): Promise<void> =>
  inPhase('descent', () => sweep(programs, rounding, moment, false, signal), inPanels(rounding));

/** Operations inside panels. */
const inPanels = ({ out, groupAt }: Rounding) => out * groupAt.length * panelOf(groupAt.length);

/** Lines of errors that a product takes at once, or a multiple: their shapes stay few. */
const LINES = 256;

/**
 * Every column from the last to the first takes the code nearest to w_j − e_j + Σ_i R_ji e_i / R_jj, e = w − ŵ, for what is
 * rounded before it as it then is: products for what was so before its panel, a kernel for what the panel changes.
 * @param matrix R = U or M, [n, n] @param isUpper whether its rows are zeros before the diagonal
 */
async function sweep(
  programs: Programs,
  rounding: Rounding,
  matrix: Chunked,
  isUpper: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { runtime } = programs;
  const { rows, weight, errors, codes, groupAt } = rounding;
  const n = groupAt.length;
  const panel = panelOf(n);
  const rules = rulesOf(rounding);
  const scale = linesOfGrids(rounding, rounding.grids.scale, 1);
  const zero = linesOfGrids(rounding, rounding.grids.zero, 0);
  /** Zeros behind the lines of a panel that is not full, which comes first. */
  const room = new Float32Array(panel * n);
  for (let start = Math.floor((n - 1) / panel) * panel; start >= 0; start -= panel) {
    if (signal.aborted) throw new CancelledError();
    const columns = Math.min(panel, n - start);
    const from = isUpper ? Math.floor(start / LINES) * LINES : 0;
    const width = n - from;
    const shape = [panel, width, rows] as const;
    const program = await programs.getBuilt(productGraph, shape, `product ${shape.join('×')}`, {
      keep: false,
    });
    const lines = rowsFrom(matrix, start, columns, from, room.subarray(0, panel * width));
    const outputs = await program.run({
      a: runtime.tensor(lines, [panel, width]),
      b: runtime.tensor(errors.subarray(from * rows), [width, rows]),
    });
    const before = await runtime.read(outputs.product!);
    const { sweepPanel, reserve } = kernels();
    const size = columns * rows;
    const { buffer, at } = reserve([
      ...[columns, columns ** 2, size, size, size].map((length) => length * FLOAT),
      ...[size, size, scale.byteLength, zero.byteLength, columns * TILE * FLOAT],
    ]);
    const [groups, corner, own, sums, error, first, code, scales, zeros, change] = at as [
      ...[number, number, number, number, number, number, number, number, number, number],
    ];
    const floats = (offset: number, length = size) => new Float32Array(buffer, offset, length);
    new Int32Array(buffer, groups, columns).set(
      groupAt.subarray(start, start + columns).map((group) => group * rows * FLOAT),
    );
    const square = floats(corner, columns ** 2);
    for (let j = 0; j < columns; j++)
      square.set(lines.subarray(j * width + start - from).subarray(0, columns), j * columns);
    const span = [start * rows, (start + columns) * rows] as const;
    floats(own).set(weight.subarray(...span));
    floats(sums).set(before.subarray(0, size));
    floats(error).set(errors.subarray(...span));
    const least = new Uint8Array(buffer, first, size);
    if (rules.first) least.set(rules.first.subarray(...span));
    else least.fill(0);
    floats(scales, scale.length).set(scale);
    floats(zeros, zero.length).set(zero);
    sweepPanel(
      ...[columns, rows * FLOAT, columns * FLOAT, groups, corner, own, sums, error, first, code],
      ...[scales, zeros, change, rules.span, rules.last, rules.halves ? -1 : 0],
    );
    errors.set(floats(error), span[0]);
    codes.set(new Uint8Array(buffer, code, size), span[0]);
  }
}

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

/** Scales or zero points [out · groups] as lines of rows, [groups, rows]. @param filler of rows that there are not */
function linesOfGrids({ out, rows, layout, groupAt }: Rounding, values: Float32Array, filler: number) {
  const groups = groupsOf(groupAt.length, layout.groupSize);
  const found = new Float32Array(groups * rows).fill(filler);
  for (let row = 0; row < out; row++)
    for (let group = 0; group < groups; group++) found[group * rows + row] = values[row * groups + group]!;
  return found;
}

/** Puts `count` rows from `start` on of a matrix, from column `from` on, one behind another. @returns `into` */
function rowsFrom(
  { columns: n, perChunk, chunks }: Chunked,
  start: number,
  count: number,
  from: number,
  into: Float32Array,
): Float32Array {
  const width = n - from;
  for (const [c, chunk] of chunks.entries()) {
    const first = Math.max(from, c * perChunk);
    const end = Math.min(n, (c + 1) * perChunk);
    if (first >= end) continue;
    for (let j = 0; j < count; j++) {
      const at = (start + j) * perChunk - c * perChunk;
      into.set(chunk.subarray(at + first, at + end), j * width + first - from);
    }
  }
  return into;
}

/** What codes may be: from `first`, or 0, on, up to `span` above it and no more than `last`. */
function rulesOf({ layout, allowed, groupAt }: Rounding) {
  const { bits, groupSize, halves } = layout;
  const last = 2 ** bits - 1;
  return {
    ...{ halves, last },
    groups: groupsOf(groupAt.length, groupSize),
    first: allowed?.first,
    span: allowed ? allowed.count - 1 : last,
  };
}

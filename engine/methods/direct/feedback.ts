/** Weights rounded one column after another, and what sweeps of coordinate descent make of the result. */
import { CancelledError } from '../../errors.js';
import type { Programs } from '../../runtime/programs.js';
import { inPhase } from '../phases.js';
import { panelOf, type Chunked } from '../../backends/columns.js';
import type { Factored } from '../../backends/moment-factor.js';
import { groupsOf, type Grids, type Layout } from './grids.js';
import { giveBack, takeKernels, TILE, TURN, type Kernels } from './kernels.js';
import { productInto } from '../../backends/corrected-weight.js';

/** Codes that a weight may take: from `first` on, `count` of them; by default all of the grid. */
export interface Allowed {
  /** [out, in] */
  readonly first: Uint8Array;
  readonly count: number;
}

/**
 * A weight on its way to codes, in a memory of its own until `endRounding`: of each column at its place a line of `rows`, which
 * begins with its elements in all rows.
 */
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
  readonly kernels: Kernels;
  readonly buffer: ArrayBuffer;
  /** Where arrays begin in it. */
  readonly at: Readonly<Record<Place, number>>;
}

/** `first` has lines of all columns where they differ, and of a panel else. */
const PLACES = [
  ...(['weight', 'errors', 'codes', 'first', 'before'] as const),
  ...(['scale', 'zero', 'groups', 'corner', 'change'] as const),
] as const;
type Place = (typeof PLACES)[number];

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

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
  const panel = panelOf(n);
  const perGrid = groupsOf(n, layout.groupSize) * rows * FLOAT;
  const bytes: Readonly<Record<Place, number>> = {
    ...{ weight: n * rows * FLOAT, errors: n * rows * FLOAT, codes: n * rows },
    ...{ first: (allowed ? n : panel) * rows, before: panel * rows * FLOAT },
    ...{ scale: perGrid, zero: perGrid, groups: n * FLOAT },
    ...{ corner: panel ** 2 * FLOAT, change: panel * TURN },
  };
  const kernels = takeKernels();
  const { buffer, at: starts } = kernels.reserve(PLACES.map((place) => bytes[place]));
  const at = Object.fromEntries(PLACES.map((place, i) => [place, starts[i]!])) as Record<Place, number>;
  const groupAt = Uint32Array.from(order, (column) => Math.floor(column / perGroup));
  new Int32Array(buffer, at.groups, n).set(groupAt.map((group) => group * rows * FLOAT));
  new Uint8Array(buffer, at.first, bytes.first).fill(0);
  const lines = { out, rows, buffer, at };
  const weight = new Float32Array(buffer, at.weight, n * rows);
  if (rows > out) weight.fill(0);
  return {
    ...{ ...lines, layout, grids, groupAt, kernels },
    weight: toLines(data, order, out, weight),
    allowed: allowed && linesOf(allowed, order, lines),
    codes: new Uint8Array(buffer, at.codes, n * rows),
    errors: new Float32Array(buffer, at.errors, n * rows).fill(0),
  };
}

/**
 * The same rounding with its codes on other grids, as near to them as may be.
 * @param allowed in the columns' own order; there if, and only if, it was when the rounding began
 */
export function continueRounding(
  before: Rounding,
  { order }: Pick<Factored, 'order'>,
  grids: Grids,
  allowed?: Allowed,
): Rounding {
  if (!allowed !== !before.allowed)
    throw new Error('A rounding goes on with other rules than it began with.');
  const { out, rows, groupAt, weight, codes, errors } = before;
  const next: Rounding = { ...before, grids, allowed: allowed && linesOf(allowed, order, before) };
  const { groups, first, span, last } = rulesOf(next);
  for (const [i, group] of groupAt.entries())
    for (let row = 0; row < out; row++) {
      const at = i * rows + row;
      const least = first ? first[at]! : 0;
      const code = Math.min(Math.max(codes[at]!, least), least + span, last);
      codes[at] = code;
      const grid = row * groups + group;
      errors[at] = weight[at]! - Math.fround(grids.scale[grid]! * (code - grids.zero[grid]!));
    }
  return next;
}

/** Frees its memory for others; it must not be used any more. */
export const endRounding = ({ kernels }: Rounding): void => {
  giveBack(kernels);
};

/** Codes with their columns in their own order, [out, in]. */
export const codesOf = ({ out, rows, codes }: Rounding, order: Uint32Array): Uint8Array =>
  fromLines(codes, order, out, rows, new Uint8Array(order.length * out));

/** W − Ŵ with its columns in their own order, [out, in]. */
export const errorsOf = ({ out, rows, errors }: Rounding, order: Uint32Array): Float32Array =>
  fromLines(errors, order, out, rows, new Float32Array(order.length * out));

const linesOf = (
  { first, count }: Allowed,
  order: Uint32Array,
  { out, rows, buffer, at }: Pick<Rounding, 'out' | 'rows' | 'buffer' | 'at'>,
): Allowed => ({
  first: toLines(first, order, out, new Uint8Array(buffer, at.first, order.length * rows)),
  count,
});

/**
 * Puts a matrix [out, in] into lines [in, rows], columns at their places: a few rows at a time, which stay in the cache.
 * @returns `lines`
 */
function toLines<A extends Float32Array | Uint8Array>(data: A, order: Uint32Array, out: number, lines: A): A {
  const n = order.length;
  const rows = lines.length / n;
  for (let first = 0; first < out; first += TILE) {
    const end = Math.min(out, first + TILE);
    for (let i = 0; i < n; i++)
      for (let row = first; row < end; row++) lines[i * rows + row] = data[row * n + order[i]!]!;
  }
  return lines;
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
  const { rows, errors, groupAt, kernels, buffer, at } = rounding;
  const n = groupAt.length;
  const panel = panelOf(n);
  const { first, span, last, halves } = rulesOf(rounding);
  setGridLines(rounding, rounding.grids.scale, 1, at.scale);
  setGridLines(rounding, rounding.grids.zero, 0, at.zero);
  const lines = new Float32Array(panel * n);
  for (let start = Math.floor((n - 1) / panel) * panel; start >= 0; start -= panel) {
    if (signal.aborted) throw new CancelledError();
    const columns = Math.min(panel, n - start);
    // What a triangle has in a panel's own columns is the kernel's: their errors are 0 till then.
    const from = isUpper ? start + columns : 0;
    const before = new Float32Array(buffer, at.before, columns * rows);
    if (from === n) before.fill(0);
    else {
      const own = rowsFrom(matrix, start, columns, from, lines.subarray(0, columns * (n - from)));
      await productInto(programs, own, errors.subarray(from * rows), n - from, before);
    }
    setSquare(matrix, start, columns, new Float32Array(buffer, at.corner, columns ** 2));
    const of = (place: number, each = FLOAT) => place + start * rows * each;
    kernels.sweepPanel(
      ...[columns, rows * FLOAT, columns * FLOAT, at.groups + start * FLOAT, at.corner],
      ...[of(at.weight), at.before, of(at.errors), first ? of(at.first, 1) : at.first, of(at.codes, 1)],
      ...[at.scale, at.zero, at.change, span, last, halves ? -1 : 0],
    );
  }
}

/** Puts scales or zero points [out · groups] into lines of rows, [groups, rows]. @param filler of rows that there are not */
function setGridLines(
  { out, rows, layout, groupAt, buffer }: Rounding,
  values: Float32Array,
  filler: number,
  at: number,
): void {
  const groups = groupsOf(groupAt.length, layout.groupSize);
  const lines = new Float32Array(buffer, at, groups * rows).fill(filler);
  for (let row = 0; row < out; row++)
    for (let group = 0; group < groups; group++) lines[group * rows + row] = values[row * groups + group]!;
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

/** The square on the diagonal that `count` rows from `start` on have in their own columns → `into` [count, count]. */
function setSquare({ perChunk, chunks }: Chunked, start: number, count: number, into: Float32Array): void {
  const chunk = chunks[Math.floor(start / perChunk)]!;
  for (let j = 0; j < count; j++) {
    const at = (start + j) * perChunk + (start % perChunk);
    into.set(chunk.subarray(at, at + count), j * count);
  }
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

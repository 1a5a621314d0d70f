/** Weights rounded one column after another, and what sweeps of coordinate descent make of the result. */
import { CancelledError } from '../../errors.js';
import type { Programs } from '../../runtime/programs.js';
import { inPhase, type Phase } from '../phases.js';
import { chunked, panelOf, timesRows, type Chunked } from './columns.js';
import type { Factored } from './factor.js';
import { codeOf, groupsOf, type Grids, type Layout } from './grids.js';

/** Codes that a weight may take: from `first` on, `count` of them; by default all of the grid. */
export interface Allowed {
  /** [out, in] */
  readonly first: Uint8Array;
  readonly count: number;
}

/** A weight on its way to codes, its columns at their places in the order. */
export interface Rounding {
  readonly out: number;
  readonly layout: Layout;
  readonly grids: Grids;
  /** Group of the column at each place. */
  readonly groupAt: Uint32Array;
  /** W [out, in] */
  readonly weight: Float32Array;
  readonly allowed: Allowed | undefined;
  /** [out, in] */
  readonly codes: Uint8Array;
  /** W − Ŵ [out, in] */
  readonly errors: Chunked;
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
  const perGroup = layout.groupSize === -1 ? n : layout.groupSize;
  const weight = new Float32Array(out * n);
  const first = allowed && new Uint8Array(out * n);
  for (let row = 0; row < out; row++)
    for (let i = 0; i < n; i++) {
      const at = row * n + order[i]!;
      weight[row * n + i] = data[at]!;
      if (first) first[row * n + i] = allowed.first[at]!;
    }
  return {
    ...{ out, layout, grids, weight },
    groupAt: Uint32Array.from(order, (column) => Math.floor(column / perGroup)),
    allowed: first && { first, count: allowed.count },
    codes: new Uint8Array(out * n),
    errors: chunked(out, n),
  };
}

/** A rounding with its codes on other grids, as near to them as may be. @param allowed in the columns' own order */
export function continueRounding(
  { out, layout, groupAt, weight, codes }: Rounding,
  { order }: Pick<Factored, 'order'>,
  grids: Grids,
  allowed?: Allowed,
): Rounding {
  const n = order.length;
  const first = allowed && new Uint8Array(out * n);
  const next: Rounding = {
    ...{ out, layout, grids, groupAt, weight },
    allowed: first && { first, count: allowed.count },
    codes: codes.slice(),
    errors: chunked(out, n),
  };
  for (let row = 0; row < out; row++)
    for (let i = 0; i < n; i++) if (first) first[row * n + i] = allowed.first[row * n + order[i]!]!;
  const { groups, span, last } = rulesOf(next);
  const { perChunk, chunks } = next.errors;
  for (let row = 0; row < out; row++)
    for (let i = 0; i < n; i++) {
      const at = row * n + i;
      const least = first ? first[at]! : 0;
      const code = Math.min(Math.max(codes[at]!, least), least + span, last);
      next.codes[at] = code;
      const grid = row * groups + groupAt[i]!;
      const value = Math.fround(grids.scale[grid]! * (code - grids.zero[grid]!));
      chunks[Math.floor(i / perChunk)]![row * perChunk + (i % perChunk)] = weight[at]! - value;
    }
  return next;
}

/** Codes with their columns in their own order, [out, in]. */
export function codesOf({ out, codes }: Rounding, order: Uint32Array): Uint8Array {
  const n = order.length;
  const found = new Uint8Array(out * n);
  for (let row = 0; row < out; row++)
    for (let i = 0; i < n; i++) found[row * n + order[i]!] = codes[row * n + i]!;
  return found;
}

/** Rows that are rounded side by side, so that their sums do not wait for one another. */
const TILE = 4;

/** Σ corner[line + k] · error[k, r] over k from `first` up to `end`, for each row r of a tile → `sums`. */
function sumRows(
  corner: Float64Array,
  line: number,
  first: number,
  end: number,
  error: Float64Array,
  sums: Float64Array,
): void {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let k = first; k < end; k++) {
    const factor = corner[line + k]!;
    const from = k * TILE;
    a += factor * error[from]!;
    b += factor * error[from + 1]!;
    c += factor * error[from + 2]!;
    d += factor * error[from + 3]!;
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}

/**
 * Rounds every column where it leaves the least error to those rounded before it: with M = UᵀU, the error of a row,
 * (w − ŵ) M (w − ŵ)ᵀ, is Σ_j (Σ_{i≥j} U_ji (w_i − ŵ_i))², and column j makes its term least at w_j + Σ_{i>j} U_ji (w_i −
 * ŵ_i) / U_jj. This is GPTQ (Frantar et al. 2023) with its columns in this order.
 * @returns the error of each row, [out]
 */
export async function feedback(
  programs: Programs,
  rounding: Rounding,
  { upper }: Pick<Factored, 'upper'>,
  signal: AbortSignal,
): Promise<Float64Array> {
  const { out, errors, weight, codes, groupAt } = rounding;
  const { scale, zero } = rounding.grids;
  const { halves, groups, first: allowedFrom, span, last } = rulesOf(rounding);
  const n = errors.columns;
  const panel = panelOf(n);
  const lost = new Float64Array(out);
  /** Of the panel's columns, [panel, TILE]. */
  const error = new Float64Array(panel * TILE);
  const sums = new Float64Array(TILE);
  const work = ({ start, columns, before, corner, own, at }: PanelWork) => {
    for (let first = 0; first < out; first += TILE) {
      const rows = Math.min(TILE, out - first);
      for (let j = columns - 1; j >= 0; j--) {
        const line = j * panel;
        sumRows(corner, line, j + 1, columns, error, sums);
        const pivot = corner[line + j]!;
        const group = groupAt[start + j]!;
        for (let r = 0; r < rows; r++) {
          const row = first + r;
          const i = row * n + start + j;
          const w = weight[i]!;
          const x = w + (before[row * panel + j]! + sums[r]!) / pivot;
          const s = scale[row * groups + group]!;
          const z = zero[row * groups + group]!;
          const least = allowedFrom ? allowedFrom[i]! : 0;
          const code = codeOf(x, s, z, halves, least, least + span < last ? least + span : last);
          const value = Math.fround(s * (code - z));
          codes[i] = code;
          error[j * TILE + r] = w - value;
          lost[row]! += (pivot * (x - value)) ** 2;
          own[row * errors.perChunk + at + j] = w - value;
        }
      }
    }
  };
  // Rows of U begin at the diagonal.
  await forPanels(programs, { phase: 'feedback', rounding, rows: upper, isUpper: true }, signal, work);
  return lost;
}

/**
 * One sweep of coordinate descent (QuantEase, CDQuant): each column in the same order takes the code with which the error
 * of its row is least while the others stay, which never raises it.
 */
export async function descend(
  programs: Programs,
  rounding: Rounding,
  { moment }: Pick<Factored, 'moment'>,
  signal: AbortSignal,
): Promise<void> {
  const { out, errors, weight, codes, groupAt } = rounding;
  const { scale, zero } = rounding.grids;
  const { halves, groups, first, span, last } = rulesOf(rounding);
  const n = errors.columns;
  const panel = panelOf(n);
  const work = ({ start, columns, before, corner, own, at }: PanelWork) => {
    for (let row = 0; row < out; row++) {
      const slope = row * panel;
      const to = row * errors.perChunk + at;
      for (let j = columns - 1; j >= 0; j--) {
        const i = row * n + start + j;
        const grid = row * groups + groupAt[start + j]!;
        const s = scale[grid]!;
        const z = zero[grid]!;
        const known = codes[i]!;
        const least = first ? first[i]! : 0;
        const x = Math.fround(s * (known - z)) + before[slope + j]! / corner[j * panel + j]!;
        const code = codeOf(x, s, z, halves, least, least + span < last ? least + span : last);
        if (code === known) continue;
        codes[i] = code;
        const error = weight[i]! - Math.fround(s * (code - z));
        const change = error - own[to + j]!;
        own[to + j] = error;
        const line = j * panel;
        for (let k = 0; k < j; k++) before[slope + k]! += change * corner[line + k]!;
      }
    }
  };
  await forPanels(programs, { phase: 'descent', rounding, rows: moment, isUpper: false }, signal, work);
}

interface PanelWork {
  /** The first place, and how many there are. */
  readonly start: number;
  readonly columns: number;
  /** Errors · rowsᵀ, [out, panel]. */
  readonly before: Float32Array;
  /** What the panel's rows have in its own columns, [panel, panel]. */
  readonly corner: Float64Array;
  /** The chunk of errors [out, perChunk] that the panel lies in, from column `at` on. */
  readonly own: Float32Array;
  readonly at: number;
}

/** A sweep over the columns of a weight. */
interface Sweep {
  readonly phase: Phase;
  readonly rounding: Rounding;
  /** U or M, [n, n] */
  readonly rows: Chunked;
  /** Whether the rows are zeros before the diagonal. */
  readonly isUpper: boolean;
}

/** From the last panel to the first. */
async function forPanels(
  programs: Programs,
  { phase, rounding: { errors }, rows, isUpper }: Sweep,
  signal: AbortSignal,
  work: (panel: PanelWork) => void,
): Promise<void> {
  const { columns: n, perChunk } = errors;
  const panel = panelOf(n);
  const corner = new Float64Array(panel * panel);
  const sweep = async () => {
    for (let start = Math.floor((n - 1) / panel) * panel; start >= 0; start -= panel) {
      if (signal.aborted) throw new CancelledError();
      const columns = Math.min(panel, n - start);
      const c = Math.floor(start / perChunk);
      const at = start - c * perChunk;
      const chunk = rows.chunks[c]!;
      for (let j = 0; j < columns; j++)
        for (let k = 0; k < columns; k++) corner[j * panel + k] = chunk[(start + j) * perChunk + at + k]!;
      const before = await timesRows(programs, errors, rows, start, panel, isUpper ? c : 0);
      work({ start, columns, before, corner, own: errors.chunks[c]!, at });
    }
  };
  await inPhase(phase, sweep, isUpper ? errors.rows * n * panel : 0);
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

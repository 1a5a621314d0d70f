/**
 * SpQR of one weight (Dettmers et al. 2023; docs/METHOD.md, section 14): codes in small groups whose scales and zero points are on
 * grids of a second level, and single weights that stay in float16.
 */
import type { HostTensor } from '../models/checkpoint.js';
import {
  statisticValue,
  type GriddedStatistic,
  type GridWeight,
  type SecondLevel,
} from '../quantized/weight.js';
import type { Programs } from '../runtime/programs.js';
import { columnsInOrder } from './order.js';
import { rounded, visitPanels, type Panel } from './panels.js';
import { rounderTo, type Precision, type Round } from './precision.js';

/** Columns between two products on the device, as many whole groups as fit (docs/METHOD.md, section 8). */
const PANEL = 128;

/** Bits of a second level, and the rows that share one of its grids. */
export interface LevelShape {
  readonly rows: number;
  readonly scaleBits: number;
  readonly zeroBits: number;
}

export interface SpqrShape {
  readonly bits: number;
  /** Columns of a group. */
  readonly groupSize: number;
  readonly level?: LevelShape;
  /** Outliers are weights whose errors cost more than so many times the mean variance of a column; Infinity for none. */
  readonly threshold: number;
  /** Default `apart`: outliers that are likely do not set their group's range. `within`: they do. */
  readonly likely?: 'apart' | 'within';
  /** Of statistics and outliers; default float16, as they are stored. */
  readonly precision?: Precision;
}

/** The factor of a Hessian whose columns are in an order. */
export interface OrderedFactor {
  /** Place i has column `order[i]`; absent where columns stay in their own. */
  readonly order?: Uint32Array | undefined;
  /** T [in, in], lower triangular, TᵀT = H + λI, rows and columns in that order. */
  readonly factor: Float32Array;
  /** Whether the input of a column, by its own number, was never active: it counts as zero. */
  readonly isDead: (column: number) => boolean;
}

/**
 * Rounds a weight W [out, in], columns in the factor's order, each correcting for the errors of those before it as in
 * `roundCorrecting`; with U = T⁻ᵀ, an error's cost (e / U_jj)² is (e · T_jj)². Weights that cost more than the threshold keep
 * their corrected value.
 */
export async function roundSparse(
  programs: Programs,
  { data, shape }: HostTensor,
  { order, factor, isDead }: OrderedFactor,
  spqr: SpqrShape,
  signal: AbortSignal,
): Promise<GridWeight> {
  const [out, n] = shape as readonly [number, number];
  const { bits, groupSize, level, precision = 'float16', likely = 'apart' } = spqr;
  const round = rounderTo(precision);
  const columnAt = (place: number) => order?.[place] ?? place;
  const own = order ? columnsInOrder(data, order) : data.slice();
  for (let place = 0; place < n; place++)
    if (isDead(columnAt(place))) for (let row = 0; row < out; row++) own[row * n + place] = 0;
  const most = spqr.threshold * meanCost(own, factor, out, n);
  const groups = Math.ceil(n / groupSize);
  const statistics = beginStatistics(out, groups, level, round);
  const codes = new Uint8Array(out * n);
  const outliers: { row: number; column: number; value: number }[] = [];
  const panel = groupSize * Math.max(1, Math.floor(PANEL / groupSize));
  const sums = new Float64Array(out * panel);
  const values = new Float64Array(out * groupSize);
  const levels = 2 ** bits - 1;
  await visitPanels(programs, factor, { out, n, panel }, signal, (part, errors) => {
    const { start, columns, before, corner } = part;
    sums.set(before);
    for (let first = 0; first < columns; first += groupSize) {
      const group = { first, count: Math.min(groupSize, columns - first) };
      for (let row = 0; row < out; row++)
        correctedGroup(own, sums, part, panel, row, n, group, values.subarray(row * groupSize));
      const costs = Float64Array.from({ length: group.count }, (_, j) => corner[(first + j) * (panel + 1)]!);
      const index = (start + first) / groupSize;
      const limit = likely === 'apart' ? most : Infinity;
      const grids = Array.from({ length: out }, (_, row) =>
        fitGrid(values.slice(row * groupSize, row * groupSize + group.count), costs, levels, limit),
      );
      statistics.set(index, grids);
      for (let row = 0; row < out; row++) {
        const { scale, zero } = statistics.at(row, index);
        for (let j = first; j < first + group.count; j++) {
          const weight = own[row * n + start + j]!;
          const corrected = weight + sums[row * panel + j]! / corner[j * (panel + 1)]!;
          const code = codeOf(corrected, scale, zero, levels);
          const value = Math.fround(scale * Math.fround(code - zero));
          const cost = ((corrected - value) * corner[j * (panel + 1)]!) ** 2;
          const isOutlier = cost > most;
          const column = columnAt(start + j);
          if (isOutlier) outliers.push({ row, column, value: round(corrected) });
          // Nobody reads an outlier's code.
          codes[row * n + column] = isOutlier ? codeOf(0, scale, zero, levels) : code;
          const error = weight - (isOutlier ? corrected : value);
          errors[row * n + start + j] = error;
          for (let k = j; k < columns; k++) sums[row * panel + k]! += error * corner[j * panel + k]!;
        }
      }
    }
  });
  outliers.sort((a, b) => a.row - b.row || a.column - b.column);
  return {
    kind: 'grid',
    shape: [out, n],
    bits,
    codes,
    groupSize,
    ...statistics.end(),
    ...(order && { order }),
    ...(spqr.threshold < Infinity && {
      outliers: {
        rows: Uint32Array.from(outliers, ({ row }) => row),
        columns: Uint32Array.from(outliers, ({ column }) => column),
        values: Float32Array.from(outliers, ({ value }) => value),
      },
    }),
  };
}

/** The mean over columns of the variance of their weights, weighted by what an error of each costs. */
export function meanCost(weight: Float32Array, factor: Float32Array, out: number, n: number): number {
  let sum = 0;
  for (let j = 0; j < n; j++) {
    let mean = 0;
    for (let row = 0; row < out; row++) mean += weight[row * n + j]! / out;
    let squares = 0;
    for (let row = 0; row < out; row++) squares += (weight[row * n + j]! - mean) ** 2;
    sum += (squares / (out - 1)) * factor[j * n + j]! ** 2;
  }
  return sum / n;
}

/** The weights of a group of a row as the columns before it leave them, into `values`. */
function correctedGroup(
  weight: Float32Array,
  sums: Float64Array,
  { start, corner }: Panel,
  panel: number,
  row: number,
  n: number,
  { first, count }: { readonly first: number; readonly count: number },
  values: Float64Array,
): void {
  const own = sums.slice(row * panel + first, row * panel + first + count);
  for (let j = 0; j < count; j++) {
    const at = (first + j) * panel + first;
    const lag = own[j]! / corner[at + j]!;
    values[j] = weight[row * n + start + first + j]! + lag;
    for (let k = j; k < count; k++) own[k]! -= lag * corner[at + k]!;
  }
}

const STATISTICS = ['scale', 'zero'] as const;

interface Grid {
  readonly scale: number;
  readonly zero: number;
}

const codeOf = (x: number, scale: number, zero: number, levels: number) =>
  Math.min(Math.max(rounded(x / scale + zero), 0), levels);

/** A range this small a share of its largest number is of one number: float16 could not say where it begins. */
const SMALLEST_RANGE = 2 ** -15;

/** The grid of the whole range; a zero point need not be whole. Equal numbers are kept exactly. */
function gridOf(low: number, high: number, levels: number): Grid {
  if (high - low <= SMALLEST_RANGE * levels * Math.max(Math.abs(low), Math.abs(high))) {
    const all = (low + high) / 2;
    return all === 0 ? { scale: 1, zero: 0 } : { scale: Math.abs(all), zero: -Math.sign(all) };
  }
  const scale = (high - low) / levels;
  return { scale, zero: -low / scale };
}

/** The smallest number above 0 in float16. */
const SMALLEST_HALF = 2 ** -24;

/** A grid as it is stored, which begins where it did. */
function stored({ scale, zero }: Grid, round: Round): Grid {
  const own = Math.max(round(scale), SMALLEST_HALF);
  return { scale: own, zero: round((zero * scale) / own) };
}

/**
 * The grid of a group of a row. A weight is a likely outlier where the group's costs fall by more than `most` when it is left
 * out; the mean of the others stands for it.
 * @param costs by column, of an error of 1, square roots
 */
export function fitGrid(values: Float64Array, costs: Float64Array, levels: number, most: number): Grid {
  const [low, high] = rangeWithout(values);
  const grid = gridOf(low, high, levels);
  if (!(most < Infinity) || values.length === 1) return grid;
  const costWith = ({ scale, zero }: Grid, i: number) =>
    ((values[i]! - scale * (codeOf(values[i]!, scale, zero, levels) - zero)) * costs[i]!) ** 2;
  const own = values.map((_, i) => costWith(grid, i));
  const whole = own.reduce((a, b) => a + b, 0);
  const isLikely = Array.from(values, (x, i) => {
    let left = whole - own[i]!;
    if (x === low || x === high) {
      // Without the one, or the other, the others have a grid of their own.
      const other = gridOf(...rangeWithout(values, i), levels);
      left = values.reduce((sum, _, k) => (k === i ? sum : sum + costWith(other, k)), 0);
    }
    return whole - left > most;
  });
  if (!isLikely.includes(true)) return grid;
  const ordinary = values.filter((_, i) => !isLikely[i]);
  const mean = ordinary.length === 0 ? 0 : ordinary.reduce((a, b) => a + b, 0) / ordinary.length;
  return gridOf(...rangeWithout(values.map((x, i) => (isLikely[i] ? mean : x))), levels);
}

function rangeWithout(values: Float64Array, left?: number): [low: number, high: number] {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++)
    if (i !== left) {
      low = Math.min(low, values[i]!);
      high = Math.max(high, values[i]!);
    }
  return [low, high];
}

/** Collects the statistics of groups, all rows of a group at a time, and puts them on grids where there is a second level. */
function beginStatistics(out: number, groups: number, level: LevelShape | undefined, round: Round) {
  const values = { scale: new Float32Array(out * groups), zero: new Float32Array(out * groups) };
  const own = level && {
    scale: emptyStatistic(level.scaleBits, out, groups, level.rows),
    zero: emptyStatistic(level.zeroBits, out, groups, level.rows),
  };
  return {
    set: (group: number, grids: readonly Grid[]) => {
      if (own)
        for (const what of STATISTICS)
          placeOnGrids(
            own[what],
            Float64Array.from(grids, (grid) => grid[what]),
            { group, groups, rows: level.rows },
            round,
          );
      for (const [row, grid] of grids.entries()) {
        const i = row * groups + group;
        const plain = stored(grid, round);
        for (const what of STATISTICS)
          values[what][i] = own ? statisticValue(own[what], i, groups, level.rows) : plain[what];
      }
    },
    at: (row: number, group: number): Grid => ({
      scale: values.scale[row * groups + group]!,
      zero: values.zero[row * groups + group]!,
    }),
    end: (): Pick<GridWeight, 'scale' | 'zero' | 'level'> => ({
      ...values,
      ...(own && { level: { rows: level.rows, ...own } satisfies SecondLevel }),
    }),
  };
}

const emptyStatistic = (bits: number, out: number, groups: number, rows: number) => ({
  bits,
  codes: new Uint8Array(out * groups),
  step: new Float32Array(Math.ceil(out / rows) * groups).fill(1),
  start: new Float32Array(Math.ceil(out / rows) * groups),
});

/** Rounds a statistic of all rows of a group, a band at a time. */
function placeOnGrids(
  { bits, codes, step, start }: GriddedStatistic,
  values: Float64Array,
  { group, groups, rows }: { readonly group: number; readonly groups: number; readonly rows: number },
  round: Round,
): void {
  const levels = 2 ** bits - 1;
  for (let first = 0; first < values.length; first += rows) {
    const band = values.subarray(first, first + rows);
    const { scale, zero } = stored(gridOf(...rangeWithout(band), levels), round);
    const at = (first / rows) * groups + group;
    step[at] = scale;
    start[at] = zero;
    for (let i = 0; i < band.length; i++)
      codes[(first + i) * groups + group] = codeOf(band[i]!, scale, zero, levels);
  }
}

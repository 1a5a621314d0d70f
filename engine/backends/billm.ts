/**
 * BiLLM of one weight (Huang et al. 2024; docs/METHOD.md, section 14): about one sign per weight. In each block of columns a few
 * salient ones are approximated twice, all other weights once, with statistics of their own for those that matter more and less.
 */
import type { HostTensor } from '../models/checkpoint.js';
import type { BinaryWeight } from '../quantized/weight.js';
import type { Programs } from '../runtime/programs.js';
import { visitPanels, type Panel } from './panels.js';
import { rounderTo, type Precision } from './precision.js';
import type { OrderedFactor } from './spqr.js';

/** Salient columns of a block at most (the authors' `up_lim` less one). */
const MOST_SALIENT = 49;
/** Shares of a block's weights that are tried for the sparse ones (the authors' list). */
const SPLITS = Array.from({ length: 81 }, (_, i) => (10 + i) / 100);
/** Classes of weights outside salient columns. */
const [SPARSE, DENSE] = [0, 1];
const CLASSES = 2;

export interface BillmShape {
  /** Columns that are binarized together. */
  readonly block: number;
  /** Of statistics; default float16, as they are stored. */
  readonly precision?: Precision;
}

/**
 * Binarizes a weight W [out, in] block after block. With U = T⁻ᵀ, H⁻¹ = UᵀU, errors E = (W − Ŵ) / U_jj of a block leave
 * W − E · U[block, later] to the later ones, as GPTQ's do; within a block nothing is corrected.
 */
export async function binarize(
  programs: Programs,
  { data, shape }: HostTensor,
  { factor, isDead }: Pick<OrderedFactor, 'factor' | 'isDead'>,
  { block, precision = 'float16' }: BillmShape,
  signal: AbortSignal,
): Promise<BinaryWeight> {
  const [out, n] = shape as readonly [number, number];
  const groups = Math.ceil(n / block);
  const signs = new Uint8Array(out * n);
  const classOf = new Uint8Array(out * n);
  const statistics = (each: number) => new Float32Array(out * groups * each);
  const [mean, scale] = [statistics(CLASSES), statistics(CLASSES)];
  const [doubleMean, first, other] = [statistics(1), statistics(1), statistics(1)];
  const salient: { readonly column: number; readonly signs: Uint8Array }[] = [];
  const round = rounderTo(precision);
  await visitPanels(programs, factor, { out, n, panel: block }, signal, (part, errors) => {
    const { index, start, columns, before, corner } = part;
    const weight = new Float64Array(out * columns);
    const left = new Float64Array(columns);
    for (let row = 0; row < out; row++) {
      for (let j = 0; j < columns; j++) left[j] = before[row * block + j]!;
      solveLower(part, block, left);
      for (let j = 0; j < columns; j++)
        weight[row * columns + j] = isDead(start + j) ? 0 : data[row * n + start + j]! + left[j]!;
    }
    const diagonal = Float64Array.from({ length: columns }, (_, j) => corner[j * (block + 1)]!);
    const { isSalient, split, saliency } = choose(weight, diagonal);
    const ofBlock = [...isSalient.keys()].filter((j) => isSalient[j] === 1);
    const planes = new Map(ofBlock.map((j) => [j, new Uint8Array(out)]));
    for (const [j, own] of planes) salient.push({ column: start + j, signs: own });
    for (let row = 0; row < out; row++) {
      const group = row * groups + index;
      const at = row * n + start;
      const own = weight.subarray(row * columns, (row + 1) * columns);
      const values = new Float64Array(columns);
      for (const kind of [SPARSE, DENSE]) {
        const members = membersOf(columns, (j) => {
          const isDense = saliency[row * columns + j]! >= split;
          return isSalient[j] === 0 && isDense === (kind === DENSE);
        });
        const fit = fitPlane(own, members);
        const [m, s] = [round(fit.mean), round(fit.scale)];
        mean[group * CLASSES + kind] = m;
        scale[group * CLASSES + kind] = s;
        for (const j of members) {
          classOf[at + j] = kind;
          signs[at + j] = Number(own[j]! >= fit.mean);
          values[j] = Math.fround(m + (signs[at + j] ? s : -s));
        }
      }
      const fit = fitPlane(own, ofBlock);
      const residual = own.map((x) => x - fit.mean - (x >= fit.mean ? fit.scale : -fit.scale));
      const more = fitPlane(residual, ofBlock);
      const [m, s, t] = [round(fit.mean + more.mean), round(fit.scale), round(more.scale)];
      doubleMean[group] = m;
      first[group] = s;
      other[group] = t;
      for (const j of ofBlock) {
        const isAbove = residual[j]! >= more.mean;
        signs[at + j] = Number(own[j]! >= fit.mean);
        planes.get(j)![row] = Number(isAbove);
        values[j] = Math.fround(Math.fround(m + (signs[at + j] ? s : -s)) + (isAbove ? t : -t));
      }
      for (let j = 0; j < columns; j++)
        left[j] = (own[j]! - values[j]!) * diagonal[j]! - before[row * block + j]!;
      solveLower(part, block, left);
      // Later columns are corrected by E · U, of which products with T make the rest.
      for (let j = 0; j < columns; j++) errors[at + j] = left[j]!;
    }
  });
  const columns = Uint32Array.from(salient, ({ column }) => column);
  return {
    kind: 'binary',
    shape: [out, n],
    signs,
    classes: CLASSES,
    classOf,
    groupSize: block,
    mean,
    scale,
    ...(columns.length > 0 && {
      second: {
        columns,
        signs: Uint8Array.from(
          { length: out * columns.length },
          (_, i) => salient[i % columns.length]!.signs[Math.floor(i / columns.length)]!,
        ),
        mean: doubleMean,
        scales: [first, other] as const,
      },
    }),
  };
}

/** Replaces b by T⁻¹ b, for T on the diagonal of a panel. */
function solveLower({ columns, corner }: Panel, panel: number, b: Float64Array): void {
  for (let j = 0; j < columns; j++) {
    b[j]! /= corner[j * (panel + 1)]!;
    for (let k = j + 1; k < columns; k++) b[k]! -= b[j]! * corner[j * panel + k]!;
  }
}

const membersOf = (columns: number, has: (j: number) => boolean): number[] =>
  [...Array(columns).keys()].filter(has);

/** One binary approximation of a row's members, mean + scale · sign; of none, 0. */
function fitPlane(row: Float64Array, members: readonly number[]): { mean: number; scale: number } {
  if (members.length === 0) return { mean: 0, scale: 0 };
  const mean = members.reduce((sum, j) => sum + row[j]!, 0) / members.length;
  return { mean, scale: members.reduce((sum, j) => sum + Math.abs(row[j]! - mean), 0) / members.length };
}

interface Choice {
  /** By column. */
  readonly isSalient: Uint8Array;
  /** Weights outside salient columns whose saliency is at least this are dense. */
  readonly split: number;
  /** (w / U_jj)², [out, columns]. */
  readonly saliency: Float64Array;
}

/**
 * Chooses salient columns and the split of the other weights by how well saliencies themselves are approximated so: two planes for
 * salient columns, and, for their choice, two for the others, for the split's one each.
 * @param weight [out, columns] @param diagonal T_jj = 1 / U_jj
 */
export function choose(weight: Float64Array, diagonal: Float64Array): Choice {
  const columns = diagonal.length;
  const saliency = weight.map((w, i) => (w * diagonal[i % columns]!) ** 2);
  const sums = new Float64Array(columns);
  for (const [i, s] of saliency.entries()) sums[i % columns]! += s;
  const order = [...sums.keys()].sort((a, b) => sums[b]! - sums[a]! || a - b);
  const count = chooseCount(saliency, order);
  const isSalient = new Uint8Array(columns);
  for (const j of order.slice(0, count)) isSalient[j] = 1;
  return { isSalient, split: chooseSplit(saliency, isSalient), saliency };
}

/** How many of the first columns in this order are salient. */
function chooseCount(saliency: Float64Array, order: readonly number[]): number {
  const columns = order.length;
  const most = Math.min(MOST_SALIENT, columns - 1);
  const errors = new Float64Array(most + 1);
  errors[0] = Infinity;
  const row = new Float64Array(columns);
  for (let start = 0; start < saliency.length; start += columns) {
    for (let i = 0; i < columns; i++) row[i] = saliency[start + order[i]!]!;
    for (let k = 1; k <= most; k++) errors[k]! += errorOfTwo(row, 0, k) + errorOfTwo(row, k, columns);
  }
  return most === 0 ? 0 : errors.indexOf(Math.min(...errors));
}

/** Σ of squares that two binary approximations leave of numbers `start` to `end`: those of r − a · sign(r) are Σ r² − n a². */
function errorOfTwo(row: Float64Array, start: number, end: number): number {
  const n = end - start;
  let mean = 0;
  for (let i = start; i < end; i++) mean += row[i]!;
  mean /= n;
  let [scale, above] = [0, 0];
  for (let i = start; i < end; i++) {
    const r = row[i]! - mean;
    scale += Math.abs(r);
    if (r >= 0) above++;
  }
  scale /= n;
  const lag = (scale * (n - 2 * above)) / n;
  let [squares, next] = [0, 0];
  for (let i = start; i < end; i++) {
    const r = row[i]! - mean;
    const left = r - (r >= 0 ? scale : -scale) - lag;
    squares += left * left;
    next += Math.abs(left);
  }
  return squares - (next * next) / n;
}

/** The quantile of saliencies, those of salient columns counting as 0, at which the others are split. */
function chooseSplit(saliency: Float64Array, isSalient: Uint8Array): number {
  const columns = isSalient.length;
  const sorted = saliency.map((s, i) => (isSalient[i % columns] ? 0 : s)).sort();
  const splits = SPLITS.map((share) => {
    const at = share * (sorted.length - 1);
    const [low, high] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
    return low + (high - low) * (at - Math.floor(at));
  });
  /** What planes make smaller of the squares' sum. */
  const gains = new Float64Array(splits.length);
  for (let start = 0; start < saliency.length; start += columns) {
    const row = saliency
      .slice(start, start + columns)
      .filter((_, j) => isSalient[j] === 0)
      .sort();
    const before = new Float64Array(row.length + 1);
    for (let i = 0; i < row.length; i++) before[i + 1] = before[i]! + row[i]!;
    for (const [i, split] of splits.entries()) {
      const at = firstNotBelow(row, split, 0, row.length);
      gains[i]! += gainOfOne(row, before, 0, at) + gainOfOne(row, before, at, row.length);
    }
  }
  return splits[gains.indexOf(Math.max(...gains))]!;
}

/** By how much one binary approximation lowers Σ r² of sorted numbers: n (mean² + scale²). @param before sums of those before each */
function gainOfOne(row: Float64Array, before: Float64Array, start: number, end: number): number {
  const n = end - start;
  if (n === 0) return 0;
  const mean = (before[end]! - before[start]!) / n;
  const above = firstNotBelow(row, mean, start, end);
  const scale = (2 * (before[end]! - before[above]! - (end - above) * mean)) / n;
  return n * (mean * mean + scale * scale);
}

/** The first place in `start` to `end` of sorted numbers that is not below x; `end` where there is none. */
function firstNotBelow(row: Float64Array, x: number, start: number, end: number): number {
  let [low, high] = [start, end];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

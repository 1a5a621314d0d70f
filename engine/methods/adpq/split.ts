/**
 * A weight as outliers and the rest, each rounded on grids of its own (AdpQ: Ghaffari et al. 2024; docs/METHOD.md, section 16).
 */
import { roundHalfEven } from '../../execution/activation-ranges.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { GridWeight } from '../../quantized/weight.js';
import { largestAt } from './largest.js';
import type { AdpqSettings } from './settings.js';

/** How a weight is split and rounded. */
export interface SplitLayout {
  readonly bits: number;
  /** Of outliers. */
  readonly outlierBits: number;
  /** Columns that share scales, at least 1. */
  readonly groupSize: number;
  readonly grid: AdpqSettings['grid'];
}

/**
 * The magnitudes above which weights are outliers: one for the matrix, or one per group of columns of a row [out · groups].
 * With weights themselves as its pilot estimate, the adaptive LASSO leaves sign(w) · max(|w| − λ / |w|, 0), which is not 0
 * where |w| > √λ: √λ is the largest magnitude that is no outlier. Weights as large as the threshold are none.
 * @param weight [out, in]
 */
export function thresholdsOf(
  { data, shape }: HostTensor,
  { outliers, threshold, groupSize }: Pick<AdpqSettings, 'outliers' | 'threshold' | 'groupSize'>,
): Float32Array {
  if (threshold === 'matrix') return Float32Array.of(largestAt(data, roundHalfEven(outliers * data.length)));
  return Float32Array.from(groupsIn(shape, groupSize), ({ from, to }) => {
    const magnitudes = data.slice(from, to).map(Math.abs).sort();
    return magnitudes[to - from - 1 - roundHalfEven(outliers * (to - from))]!;
  });
}

/** The weight [out, in] at some bits. @param thresholds as `thresholdsOf` makes them */
export function splitWeight(weight: HostTensor, thresholds: Float32Array, layout: SplitLayout): GridWeight {
  const { data, shape } = weight;
  const [out, columns] = shape as [number, number];
  const { bits, outlierBits, groupSize, grid } = layout;
  const groups = out * Math.ceil(columns / groupSize);
  const codes = new Uint8Array(data.length);
  const [scale, zero] = [new Float32Array(groups), new Float32Array(groups)];
  const places: number[] = [];
  const values: number[] = [];
  for (const { group, from, to } of groupsIn(shape, groupSize)) {
    const threshold = thresholds[thresholds.length === 1 ? 0 : group]!;
    const isOutlier = (x: number) => Math.abs(x) > threshold;
    const [core, own] = [beginRange(), beginRange()];
    for (let i = from; i < to; i++) include(isOutlier(data[i]!) ? own : core, data[i]!);
    const coreGrid = gridOver(core, bits, grid);
    const ownGrid = gridOver(own, outlierBits, grid);
    scale[group] = coreGrid.scale;
    zero[group] = coreGrid.zero;
    for (let i = from; i < to; i++) {
      const x = data[i]!;
      codes[i] = isOutlier(x) ? coreGrid.zero : codeOf(x, coreGrid);
      if (!isOutlier(x)) continue;
      places.push(i);
      values.push(ownGrid.scale * (codeOf(x, ownGrid) - ownGrid.zero));
    }
  }
  return {
    kind: 'grid',
    shape: [out, columns],
    bits,
    codes,
    groupSize,
    scale,
    zero,
    outliers: {
      rows: Uint32Array.from(places, (i) => Math.floor(i / columns)),
      columns: Uint32Array.from(places, (i) => i % columns),
      values: Float32Array.from(values),
      grid: { bits: outlierBits, zeroBits: grid === 'symmetric' ? 0 : outlierBits },
    },
  };
}

/** Outliers of a layer, and the groups of columns that have any. */
export interface OutlierCounts {
  readonly elements: number;
  readonly groups: number;
}

/** @param thresholds as `thresholdsOf` makes them */
export function countOutliers(
  { data, shape }: HostTensor,
  thresholds: Float32Array,
  groupSize: number,
): OutlierCounts {
  let [elements, groups] = [0, 0];
  for (const { group, from, to } of groupsIn(shape, groupSize)) {
    const threshold = thresholds[thresholds.length === 1 ? 0 : group]!;
    const before = elements;
    for (let i = from; i < to; i++) if (Math.abs(data[i]!) > threshold) elements++;
    if (elements > before) groups++;
  }
  return { elements, groups };
}

/** The groups of columns of every row, by the range of their elements; the last of a row has those that are left. */
function* groupsIn([out = 0, columns = 0]: readonly number[], groupSize: number) {
  let group = 0;
  for (let row = 0; row < out; row++)
    for (let column = 0; column < columns; column += groupSize) {
      const from = row * columns + column;
      yield { group: group++, from, to: from + Math.min(groupSize, columns - column) };
    }
}

interface Range {
  least: number;
  most: number;
}

/** Of no weights; 0 is in every range. */
const beginRange = (): Range => ({ least: 0, most: 0 });

function include(range: Range, x: number): void {
  if (x < range.least) range.least = x;
  if (x > range.most) range.most = x;
}

interface Grid {
  readonly scale: number;
  readonly zero: number;
  /** The last code. */
  readonly top: number;
}

/** Symmetric grids leave one code unused, so that 0 is the middle one. */
function gridOver({ least, most }: Range, bits: number, kind: AdpqSettings['grid']): Grid {
  const isSymmetric = kind === 'symmetric';
  const top = 2 ** bits - (isSymmetric ? 2 : 1);
  const span = isSymmetric ? 2 * Math.max(-least, most) : most - least;
  const scale = Math.fround(span / top) || 1;
  return { scale, zero: isSymmetric ? top / 2 : roundHalfEven(-least / scale), top };
}

const codeOf = (x: number, { scale, zero, top }: Grid): number =>
  Math.max(0, Math.min(top, roundHalfEven(x / scale) + zero));

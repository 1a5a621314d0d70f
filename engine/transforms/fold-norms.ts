/**
 * Norm reparameterisation (RepQ-ViT, Li et al. 2023, section 3.2; docs/METHOD.md, section 9): a norm's output is first
 * calibrated per channel at the lowest bit-width, then norm, weights and biases are changed so that one scale fits all
 * channels while the function in floating point stays the same.
 */
import type { KnownPart } from '../execution/moments.js';
import type { Observed } from '../execution/observe.js';
import type { NamedTensors } from '../execution/tensors.js';
import { scaledColumns } from './rescaling.js';
import { percentileStart, roundHalfEven, type Grid } from '../execution/activation-ranges.js';

export interface Reparameterisation {
  /** r = s_c / s̃, per channel of the norm: norm weight ← weight / r, next weight ← weight · r per input column. */
  readonly ratio: Float32Array;
  /** d = m_c / r − m̃, per channel: norm bias ← bias / r − d, next bias ← bias + W_new · d. */
  readonly shift: Float32Array;
  /** The one grid of the changed output at the lowest bit-width. */
  readonly grid: Grid;
}

/**
 * A channel that hardly moves keeps a share of the common scale, or dividing by its own would lose its bias to rounding
 * (docs/METHOD.md, section 9).
 */
const MIN_RATIO = 0.01;

/**
 * @param output the norm's output, [rows, features] row-major
 * @param bits the lowest bit-width
 */
export function reparameterise(
  output: Float32Array,
  features: number,
  bits: number,
  percentiles?: readonly number[],
): Reparameterisation {
  const rows = output.length / features;
  const column = new Float32Array(rows);
  const grids = Array.from({ length: features }, (_, c) => {
    for (let r = 0; r < rows; r++) column[r] = output[r * features + c]!;
    return percentileStart(column, [bits], percentiles)[0]!;
  });
  const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  const scale = Math.fround(mean(grids.map((g) => g.scale)));
  // Of a channel that hardly moves the zero point is any distance away: it would take the others' along.
  const moving = grids.filter((g) => g.scale >= MIN_RATIO * scale);
  // An integer zero point: zero stays on the grid, and integer kernels can use it.
  const grid = { scale, zero: roundHalfEven(mean(moving.map((g) => g.zero))) };
  const ratio = Float32Array.from(grids, (g) => Math.max(g.scale / grid.scale, MIN_RATIO));
  const shift = Float32Array.from(grids, (g, c) => (-g.zero * g.scale) / ratio[c]! + grid.zero * grid.scale);
  return { ratio, shift, grid };
}

/** Norm weight and bias, both [features], after the change. */
export function foldNorm(
  weight: Float32Array,
  bias: Float32Array,
  { ratio, shift }: Reparameterisation,
): { weight: Float32Array; bias: Float32Array } {
  return { weight: weight.map((w, c) => w / ratio[c]!), bias: bias.map((b, c) => b / ratio[c]! - shift[c]!) };
}

/** bias + W_new·d, with W_new [out, in] rescaled; a layer without bias gets one. */
export function foldBias(
  bias: Float32Array | undefined,
  foldedWeight: Float32Array,
  shift: Float32Array,
): Float32Array {
  const features = shift.length;
  return Float32Array.from({ length: foldedWeight.length / features }, (_, row) => {
    let sum = bias?.[row] ?? 0;
    for (let c = 0; c < features; c++) sum += foldedWeight[row * features + c]! * shift[c]!;
    return sum;
  });
}

/**
 * What replaces a norm with a bias and the layers that read it, as a rescaling's tensors: `<norm>.weight`, `<norm>.bias`,
 * `<layer>.input_scale`, `<layer>.bias`. Changes what was `seen` of the norm's output to what the folded norm would show.
 * @param bits the lowest bit-width
 */
export function foldedNorm(
  { listing, parameters }: Pick<KnownPart, 'listing' | 'parameters'>,
  norm: string,
  seen: NonNullable<ReturnType<Observed['get']>>,
  bits: number,
  percentiles: readonly number[],
): NamedTensors {
  const tensors: NamedTensors = new Map();
  const change = reparameterise(seen.data, seen.features, bits, percentiles);
  const [weight, bias] = [parameters.get(`${norm}.weight`)!, parameters.get(`${norm}.bias`)!];
  const own = foldNorm(weight.data, bias.data, change);
  tensors.set(`${norm}.weight`, { shape: weight.shape, data: own.weight });
  tensors.set(`${norm}.bias`, { shape: bias.shape, data: own.bias });
  for (const layer of listing.linears.filter((l) => l.norm === norm)) {
    const next = scaledColumns(parameters.get(`${layer.name}.weight`)!.data, change.ratio);
    tensors.set(`${layer.name}.input_scale`, { shape: [layer.in], data: change.ratio });
    tensors.set(`${layer.name}.bias`, {
      shape: [layer.out],
      data: foldBias(parameters.get(`${layer.name}.bias`)?.data, next, change.shift),
    });
  }
  for (let i = 0; i < seen.data.length; i++) {
    const channel = i % seen.features;
    seen.data[i] = seen.data[i]! / change.ratio[channel]! - change.shift[channel]!;
  }
  return tensors;
}

/** Fake quantizers: float in, the float that the quantized number stands for out (docs/METHOD.md, section 3). */
import { sizeOf, withGradient, type Value } from './ir.js';
import * as op from './ops.js';
import { sumTo } from './gradients.js';

/** The smallest step of a grid as a share of the largest magnitude in its range (docs/METHOD.md, section 3). */
const SMALLEST_STEP = 1e-5;

/** The step of a grid for zeros alone: small beside anything that is not zero, and 1 / step still finite. */
export const ZERO_STEP = 1e-20;

/** The smallest step of a grid over [low, high]: a multiple of the range has the same multiple of it. */
export const smallestStep = (low: number, high: number): number =>
  Math.max(SMALLEST_STEP * Math.max(high, -low), ZERO_STEP);

/**
 * y = s · clamp(round(x/s)), with `scale` s broadcast over x and `clamp` limiting integers to the grid's.
 * To the gradient, rounding is the identity, the clamp passes where it changes nothing, and its bounds are constants:
 *   dx = g where unclamped;   ds = Σ g · (q − [unclamped] x/s) = (Σ g · y − Σ dx · x) / s,   q the clamped integer.
 * Written out because the product and the quotient by s cancel in dx, and in x and y so that neither x/s nor q has to be
 * kept for it.
 */
export function roundToGrid(x: Value, scale: Value, clamp: (integers: Value) => Value): Value {
  return quantizedBy(x, scale, op.round(op.div(x, scale)), clamp, (q) => q);
}

/**
 * y = s · (clamp(round(x/s + z)) − z), for zero points z that are not whole; z is a constant to the gradient, which is that
 * of `roundToGrid`.
 */
function roundToCodes(x: Value, scale: Value, zero: Value, clamp: (codes: Value) => Value): Value {
  const codes = op.round(op.add(op.div(x, scale), zero));
  return quantizedBy(x, scale, codes, clamp, (q) => op.sub(q, zero));
}

function quantizedBy(
  x: Value,
  scale: Value,
  rounded: Value,
  clamp: (integers: Value) => Value,
  steps: (clamped: Value) => Value,
): Value {
  const q = clamp(rounded);
  const y = op.mul(steps(q), scale);
  return withGradient(y, {
    inputs: [x, scale],
    vjp: (g, [, needsScale]) => {
      const inside = op.mul(g, op.cast(op.equal(rounded, q), 'float32'));
      if (!needsScale) return [inside, undefined];
      const sums = op.sub(sumTo(op.mul(g, y), scale.shape), sumTo(op.mul(inside, x), scale.shape));
      return [inside, op.div(sums, scale)];
    },
  });
}

/**
 * Weights, uniform asymmetric, per row or per group of `groupSize` columns (the last group zero-padded).
 * @param weight [out, in] (the adapter already added)
 * @param clipUpper α, clipLower β: logits [rows, 1], rows = out · ceil(in / groupSize)
 * @param levels L = 2^bits − 1, shape []; best an input that the caller fills, since some devices read bounds on the CPU
 * @param halves whether zero points are multiples of a half
 * @returns [out, in]
 */
export function fakeQuantizeWeight(
  weight: Value,
  clipUpper: Value,
  clipLower: Value,
  levels: Value,
  groupSize = -1,
  halves = false,
): Value {
  const rows = groupRows(weight, groupSize);
  const quantized = roundToRows(rows, op.sigmoid(clipUpper), op.sigmoid(clipLower), levels, halves);
  return fromGroupRows(quantized, weight.shape);
}

/**
 * The codes, scales and zero points of `fakeQuantizeWeight`: its value is scale · (code − zero).
 * @returns codes [out, in], scale and zero [rows, 1], whole numbers as floats, or halves for `zero`
 */
export function weightGrid(
  weight: Value,
  clipUpper: Value,
  clipLower: Value,
  levels: Value,
  groupSize = -1,
  halves = false,
): { readonly codes: Value; readonly scale: Value; readonly zero: Value } {
  const rows = groupRows(weight, groupSize);
  const { scale, zero } = rowGrid(rows, op.sigmoid(clipUpper), op.sigmoid(clipLower), levels, halves);
  const places = op.div(rows, scale);
  const integers = halves ? op.round(op.add(places, zero)) : op.add(op.round(places), zero);
  const codes = op.clip(integers, 0, levels);
  return { codes: fromGroupRows(codes, weight.shape), scale, zero };
}

/**
 * Weights on grids that are given: as `fakeQuantizeWeight`, w/s and the zero point rounded together, so that this may be a half.
 * @param weight [out, in] @param scale,zero [rows, 1] @param levels L = 2^bits − 1, shape []
 */
export function fakeQuantizeToGrids(
  weight: Value,
  scale: Value,
  zero: Value,
  levels: Value,
  groupSize = -1,
): Value {
  const offset = op.mul(zero, scale);
  const quantized = roundToGrid(op.add(groupRows(weight, groupSize), offset), scale, (q) =>
    op.clip(q, 0, levels),
  );
  return fromGroupRows(op.sub(quantized, offset), weight.shape);
}

/** A number of each row of scales [rows, 1], for every weight that has it, in the weight's shape [out, in]. */
export function spreadOverWeight(rows: Value, shape: Value['shape'], groupSize = -1): Value {
  const perGroup = groupSize === -1 ? shape[1]! : groupSize;
  return fromGroupRows(op.expand(rows, [rows.shape[0]!, perGroup]), shape);
}

/** A weight [out, in] with a row per group of columns, the last of each row padded with zeros. */
function groupRows(weight: Value, groupSize: number): Value {
  const [out, columns] = weight.shape as readonly [number, number];
  const perGroup = groupSize === -1 ? columns : groupSize;
  const padded = Math.ceil(columns / perGroup) * perGroup;
  return op.reshape(op.pad(weight, 1, 0, padded - columns), [(out * padded) / perGroup, perGroup]);
}

/** The inverse of `groupRows`. */
function fromGroupRows(rows: Value, shape: Value['shape']): Value {
  const [out, columns] = shape as readonly [number, number];
  return op.slice(op.reshape(rows, [out, sizeOf(rows.shape) / out]), 1, 0, columns);
}

/** Rounds every row of [rows, columns] to a grid over shares of its range, each [rows, 1] or a scalar. */
function roundToRows(rows: Value, upper: Value, lower: Value, levels: Value, halves = false): Value {
  const { scale, zero } = rowGrid(rows, upper, lower, levels, halves);
  if (halves) return roundToCodes(rows, scale, zero, (codes) => op.clip(codes, 0, levels));
  return roundToGrid(rows, scale, (q) => op.sub(op.clip(op.add(q, zero), 0, levels), zero));
}

/** Step size and zero point of each row, [rows, 1]; the zero point, whole or a half, is a constant to the gradient. */
function rowGrid(
  rows: Value,
  upper: Value,
  lower: Value,
  levels: Value,
  halves: boolean,
): { scale: Value; zero: Value } {
  const [most, least] = [op.reduceMax(rows, [1]), op.reduceMin(rows, [1])];
  const [hi, lo] = [op.mul(upper, most), op.mul(lower, least)];
  const scalar = (x: number) => rows.graph.scalar(x);
  const smallest = op.max(op.mul(op.max(most, op.neg(least)), scalar(SMALLEST_STEP)), scalar(ZERO_STEP));
  const scale = atLeast(op.div(op.sub(hi, lo), levels), smallest);
  const place = op.div(op.neg(lo), scale);
  const zero = halves ? op.mul(op.round(op.mul(place, scalar(2))), scalar(0.5)) : op.round(place);
  return { scale, zero: op.stopGradient(zero) };
}

/** The larger of both; the gradient passes where x is, and `smallest` is a constant to it. */
function atLeast(x: Value, smallest: Value): Value {
  const y = op.max(x, smallest);
  return withGradient(y, { inputs: [x], vjp: (g) => [op.mul(g, op.cast(op.equal(x, y), 'float32'))] });
}

/**
 * Activations, static: one scale for the tensor (any shape), integers limited to [lower, upper] = [−z, L − z].
 * @param scale one element; @param lower,upper shape [] (see `levels` above)
 */
export function fakeQuantizeActivation(x: Value, scale: Value, lower: Value, upper: Value): Value {
  return roundToGrid(x, scale, (q) => op.clip(q, lower, upper));
}

/**
 * Activations, dynamic: symmetric, one scale per token (the last axis), s = absmax / (2^(bits−1) − 1).
 * @param lower,upper ∓(2^(bits−1) − 1), shape [] (see `levels` above). The gradient flows through the absolute maximum.
 */
export function fakeQuantizeTokens(x: Value, lower: Value, upper: Value): Value {
  const tokens = op.reshape(x, [sizeOf(x.shape) / x.shape.at(-1)!, x.shape.at(-1)!]);
  const scale = atLeast(op.div(op.reduceMax(op.abs(tokens), [1]), upper), x.graph.scalar(ZERO_STEP));
  return op.reshape(
    roundToGrid(tokens, scale, (q) => op.clip(q, lower, upper)),
    x.shape,
  );
}

/**
 * The share of its range that a group of keys or values keeps: the paper's and QuaRot's (docs/METHOD.md, section 3).
 */
const CACHE_RANGE = 0.95;

/**
 * Keys or values as a cache keeps them: asymmetric, one grid for every `size` channels of a token, over 0.95 of their range.
 * @param x [tokens, channels]; `size` divides the channels
 * @param levels 2^bits − 1, shape []
 */
export function fakeQuantizeCache(x: Value, size: number, levels: Value): Value {
  const share = x.graph.scalar(CACHE_RANGE);
  const groups = op.reshape(x, [sizeOf(x.shape) / size, size]);
  return op.reshape(roundToRows(groups, share, share, levels), x.shape);
}

/** Rows of weight scales of a layer: out, or out · ⌈in / groupSize⌉. */
export const scaleRows = (layer: { readonly in: number; readonly out: number }, groupSize: number): number =>
  groupSize === -1 ? layer.out : layer.out * Math.ceil(layer.in / groupSize);

/** σ(8) ≈ 0.9997: the whole range, yet with a gradient (docs/METHOD.md, section 3). */
export const LARGEST_LOGIT = 8;

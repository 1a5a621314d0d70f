/** Fake quantizers: float in, the float that the quantized number stands for out (method, section 3). */
import { sizeOf, withGradient, type Value } from './ir.js';
import * as op from './ops.js';
import { sumTo } from './gradients.js';

/** The smallest and largest step size of a weight. */
const MIN_SCALE = 1e-5;
const MAX_SCALE = 1e4;

/**
 * s · clamp(round(x/s), lower, upper), with `scale` s and the integer bounds broadcast over x.
 * To the gradient, rounding is the identity, the clamp passes inside its bounds and at them, and the bounds are constants:
 *   dx = g where inside;   ds = Σ g · (q − [inside] x/s),   q the clamped integer.
 * Written out because the product and the quotient by s cancel in dx.
 */
export function roundToGrid(x: Value, scale: Value, lower: Value, upper: Value): Value {
  const steps = op.div(x, scale);
  const rounded = op.round(steps);
  const q = op.min(op.max(rounded, lower), upper);
  return withGradient(op.mul(q, scale), {
    inputs: [x, scale],
    vjp: (g, [, needsScale]) => {
      const inside = op.where(op.equal(rounded, q), g, g.graph.scalar(0));
      if (!needsScale) return [inside, undefined];
      return [inside, op.sub(sumTo(op.mul(g, q), scale.shape), sumTo(op.mul(inside, steps), scale.shape))];
    },
  });
}

/**
 * Weights, uniform asymmetric, per row or per group of `groupSize` columns (the last group zero-padded).
 * @param weight [out, in] (the adapter already added)
 * @param clipUpper α, clipLower β: logits [rows, 1], rows = out · ceil(in / groupSize)
 * @param levels L = 2^bits − 1, a scalar
 * @returns [out, in]
 */
export function fakeQuantizeWeight(
  weight: Value,
  clipUpper: Value,
  clipLower: Value,
  levels: Value,
  groupSize = -1,
): Value {
  const [out, columns] = weight.shape as readonly [number, number];
  const width = groupSize === -1 ? columns : groupSize;
  const padded = Math.ceil(columns / width) * width;
  const rows = op.reshape(op.pad(weight, 1, 0, padded - columns), [(out * padded) / width, width]);
  const { scale, zero } = weightGrid(rows, clipUpper, clipLower, levels);
  const quantized = roundToGrid(rows, scale, op.neg(zero), op.sub(levels, zero));
  return op.slice(op.reshape(quantized, [out, padded]), 1, 0, columns);
}

/** Step size and integer zero point of each row, [rows, 1]; the zero point is a constant to the gradient. */
export function weightGrid(
  rows: Value,
  clipUpper: Value,
  clipLower: Value,
  levels: Value,
): { scale: Value; zero: Value } {
  const hi = op.mul(op.sigmoid(clipUpper), op.reduceMax(rows, [1]));
  const lo = op.mul(op.sigmoid(clipLower), op.reduceMin(rows, [1]));
  const scale = op.clip(op.div(op.sub(hi, lo), levels), MIN_SCALE, MAX_SCALE);
  return { scale, zero: op.stopGradient(op.round(op.div(op.neg(lo), scale))) };
}

/**
 * Activations, static: one scale and zero point for the tensor (any shape).
 * @param scale,zero,levels scalars, shape [] or [1]; the zero point is a constant to the gradient
 */
export function fakeQuantizeActivation(x: Value, scale: Value, zero: Value, levels: Value): Value {
  const z = op.stopGradient(zero);
  return roundToGrid(x, scale, op.neg(z), op.sub(levels, z));
}

/**
 * Activations, dynamic: symmetric, one scale a token (the last axis), s = absmax / (2^(bits−1) − 1).
 * @param top 2^(bits−1) − 1, a scalar. The gradient flows through the absolute maximum.
 */
export function fakeQuantizeTokens(x: Value, top: Value): Value {
  const tokens = op.reshape(x, [sizeOf(x.shape) / x.shape.at(-1)!, x.shape.at(-1)!]);
  const scale = op.clip(op.div(op.reduceMax(op.abs(tokens), [1]), top), MIN_SCALE, MAX_SCALE);
  return op.reshape(roundToGrid(tokens, scale, op.neg(top), top), x.shape);
}

/** Optimizer steps as subgraphs. */
import type { Value } from './ir.js';
import * as op from './ops.js';

export interface AdamState {
  readonly parameter: Value;
  /** First and second moment, in the parameter's shape. */
  readonly first: Value;
  readonly second: Value;
}

export interface AdamOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  /** Decoupled weight decay (AdamW, Loshchilov and Hutter 2019): a scalar lr · λ, taken off the parameter first. */
  readonly decay?: Value;
}

/**
 * One step of Adam (Kingma and Ba 2015, algorithm 1).
 * @param rate lr / (1 − β₁ᵗ) and @param correction √(1 − β₂ᵗ), scalars that the caller computes for step t (from 1)
 */
export function adam(
  state: AdamState,
  gradient: Value,
  rate: Value,
  correction: Value,
  options: AdamOptions = {},
): AdamState {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay } = options;
  const scalar = (x: number) => gradient.graph.scalar(x);
  const first = op.add(op.mul(state.first, scalar(beta1)), op.mul(gradient, scalar(1 - beta1)));
  const second = op.add(
    op.mul(state.second, scalar(beta2)),
    op.mul(op.mul(gradient, gradient), scalar(1 - beta2)),
  );
  const denominator = op.add(op.div(op.sqrt(second), correction), scalar(epsilon));
  const decayed = decay ? op.mul(state.parameter, op.sub(scalar(1), decay)) : state.parameter;
  return { parameter: op.sub(decayed, op.div(op.mul(first, rate), denominator)), first, second };
}

/** `rate` and `correction` of `adam` for learning rate `lr` at step `t`, counted from 1. */
export function adamScalars(
  lr: number,
  t: number,
  { beta1 = 0.9, beta2 = 0.999 } = {},
): { rate: number; correction: number } {
  return { rate: lr / (1 - beta1 ** t), correction: Math.sqrt(1 - beta2 ** t) };
}

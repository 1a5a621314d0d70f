/** Budgets as people name them, and the sizes that plans are allocated by. */
import type { Budget } from '../protocol/protocol.js';

/** What a budget is for. */
interface Budgeted {
  readonly layers: readonly { readonly weights: number }[];
  /** Of what is in no layer, which counts in the size of a model. */
  readonly otherBytes: number;
}

/** What the plan of a frontier's point comes to: mean bits of a weight, or bytes of the whole model. */
export function budgetOfSize(kind: Budget, { layers, otherBytes }: Budgeted, size: number): number {
  return kind === 'bytes' ? size + otherBytes : size / weightsOf(layers);
}

/** The largest size of a point that a budget, in the terms of `budgetOfSize`, allows. */
export function sizeWithin(kind: Budget, { layers, otherBytes }: Budgeted, budget: number): number {
  const size = kind === 'bytes' ? budget - otherBytes : budget * weightsOf(layers);
  // Two decimals times a thousand layers are the size that is meant but for rounding.
  const allowed = size * (1 + 1e-12);
  return kind === 'bytes' ? Math.floor(allowed) : allowed;
}

const weightsOf = (layers: Budgeted['layers']): number =>
  layers.reduce((sum, { weights }) => sum + weights, 0);

/** MB-ToMe: one quantized stream out of the groups' outputs (docs/METHOD.md, section 5). */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';

/**
 * How the groups' outputs become the next block's quantized input.
 *
 * One stream for all groups (docs/METHOD.md, section 5): `selective`, the tokens most alike between highest and lowest
 * group keep the highest group's feature, the others are mixed; `uniform`, every token is mixed; `random`, as
 * selective, but the kept tokens are drawn.
 *
 * A stream for every group, unmerged: `off`, a group reads its own; `drawn`, every sample of a step comes from the
 * group's own stream or that of a group above it, drawn anew. High groups then see no errors of low ones, and low ones
 * see inputs from clean to their own.
 */
export type MergeMode = 'selective' | 'uniform' | 'random' | 'off' | 'drawn';

/** Whether every group has a stream of its own. */
export const hasOwnStreams = (mode: MergeMode): boolean => mode === 'off' || mode === 'drawn';

/** λ of the method for three and four groups; other counts share evenly. */
export function mergeWeights(groups: number): number[] {
  return groups === 3 ? [0.3, 0.3, 0.4] : Array<number>(groups).fill(1 / groups);
}

/** Cosine similarity of corresponding tokens: two [n, features] → [n, 1]. */
export function tokenSimilarity(a: Value, b: Value): Value {
  const dot = (x: Value, y: Value) => op.reduceSum(op.mul(x, y), [1]);
  const norm = (x: Value) => op.clip(op.sqrt(dot(x, x)), 1e-8, 3e38);
  return op.div(dot(a, b), op.mul(norm(a), norm(b)));
}

/**
 * Σ λ_g x_g, except that the `keep` tokens of highest score in each sample are taken from the first group, and with them
 * any that score the same as the last of these.
 * @param outputs per group [batch·tokens, features], high to low
 * @param score [batch·tokens, 1]; absent: every token is mixed
 */
export function mergeTokens(
  outputs: readonly Value[],
  weights: readonly number[],
  batch: number,
  keep: number,
  score?: Value,
): Value {
  const first = outputs[0]!;
  const scaled = outputs.map((x, g) => op.mul(x, x.graph.scalar(weights[g]!)));
  const mixed = scaled.reduce((sum, x) => op.add(sum, x));
  if (!score || keep === 0) return mixed;
  const rows = first.shape[0]!;
  const sorted = op.topK(op.reshape(score, [batch, rows / batch]), keep);
  const threshold = op.slice(sorted, 1, keep - 1, keep);
  const kept = op.greaterOrEqual(op.reshape(score, [batch, rows / batch]), threshold);
  return op.where(op.reshape(kept, [rows, 1]), first, mixed);
}

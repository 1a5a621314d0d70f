/** Learned biases of attention for how far two patches are apart, down and to the right (Shaw et al. 2018; Liu et al. 2021). */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { ModelConfig } from '../config.js';
import type { Grid } from './patches.js';

/** Far above any real model's; below it, what says which pairs attend to each other and how takes up to 130 MB. */
const MAX_PAIRS = 1 << 24;

/** Throws UserError that names `key` where a picture has too many pairs of tokens that attend to each other. */
export function requirePairs(config: ModelConfig, key: string, pairs: number): void {
  if (pairs > MAX_PAIRS)
    config.fail(
      key,
      `makes ${pairs} pairs of patches that attend to each other; at most ${MAX_PAIRS} are supported`,
    );
}

/** Offsets between any two patches of a grid. */
export const offsetsIn = ({ rows, columns }: Grid): number => (2 * rows - 1) * (2 * columns - 1);

/** The number of the offset between two patches, from 0. */
export function offsetOf({ rows, columns }: Grid, query: number, key: number): number {
  const down = Math.floor(query / columns) - Math.floor(key / columns) + rows - 1;
  const right = (query % columns) - (key % columns) + columns - 1;
  return down * (2 * columns - 1) + right;
}

/**
 * Biases of all pairs of tokens, from a table of them: [rows, heads] → [1, heads, tokens, tokens].
 * @param rowOf the row for a query and a key
 */
export function pairBias(table: Value, tokens: number, rowOf: (query: number, key: number) => number): Value {
  const rows = BigInt64Array.from({ length: tokens * tokens }, (_, i) =>
    BigInt(rowOf(Math.floor(i / tokens), i % tokens)),
  );
  const found = op.gather(table, table.graph.constant(rows, [tokens * tokens]));
  return op.reshape(op.transpose(found, [1, 0]), [1, table.shape[1]!, tokens, tokens]);
}

/** Learned positions of decoders. */
import * as op from '../../graph/ops.js';
import type { Sublayer } from './decoder.js';

/**
 * Adds a row of a table to each token.
 * @param count positions that there are
 * @param first the row of the first one
 */
export const withPositions =
  (table: string, count: number, first = 0): Sublayer =>
  (b, x, batch) => {
    const [rows, features] = x.shape as readonly [number, number];
    const length = rows / batch;
    const positions = b.parameter(`${table}.weight`, [first + count, features]);
    const own = op.slice(positions, 0, first, first + length);
    return op.reshape(op.add(op.reshape(x, [batch, length, features]), own), x.shape);
  };

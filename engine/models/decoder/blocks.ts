/** The order of a block's sublayers and norms. */
import * as op from '../../graph/ops.js';
import type { Sublayer } from './decoder.js';
import type { Norm } from './norms.js';

/** A sublayer that is added to the stream. */
export interface Branch {
  readonly of: Sublayer;
  readonly norm: Norm;
  /** The norm that it reads the stream behind. */
  readonly before: string;
}

const added =
  ({ of, norm, before }: Branch): Sublayer =>
  (b, x, batch) =>
    op.add(x, of(b, norm(b, before, x), batch));

/** One branch after another. */
export const inTurn =
  (...branches: readonly Branch[]): Sublayer =>
  (b, x, batch) =>
    branches.reduce((stream, branch) => added(branch)(b, stream, batch), x);

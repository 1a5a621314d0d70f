/** The order of a block's sublayers and norms. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Sublayer } from './decoder.js';
import type { Norm } from './norms.js';

/** A sublayer that is added to the stream. */
export interface Branch {
  readonly of: Sublayer;
  readonly norm: Norm;
  /** The norm that it reads the stream behind. Default none. */
  readonly before?: string;
  /** The norm that its output passes before it is added. Default none. */
  readonly after?: string;
  /** What its output is multiplied by. Default 1. */
  readonly factor?: number;
}

/** What a branch adds to the stream. */
const share =
  ({ of, norm, before, after, factor = 1 }: Branch): Sublayer =>
  (b, x, batch) => {
    const made = of(b, before === undefined ? x : norm(b, before, x), batch);
    return scaled(after === undefined ? made : norm(b, after, made), factor);
  };

export const scaled = (x: Value, factor: number): Value =>
  factor === 1 ? x : op.mul(x, x.graph.scalar(factor));

/** One branch after another. */
export const inTurn =
  (...branches: readonly Branch[]): Sublayer =>
  (b, x, batch) =>
    branches.reduce((stream, branch) => op.add(stream, share(branch)(b, stream, batch)), x);

/** All branches of the same stream; those behind one norm share it. */
export const inParallel =
  (...branches: readonly Branch[]): Sublayer =>
  (b, x, batch) => {
    const known = new Map<string, Value>();
    const once =
      (norm: Norm): Norm =>
      (builder, name, input) => {
        const made = known.get(name) ?? norm(builder, name, input);
        known.set(name, made);
        return made;
      };
    const shares = branches.map((branch) => share({ ...branch, norm: once(branch.norm) })(b, x, batch));
    return shares.reduce((sum, one) => op.add(sum, one), x);
  };

/** One branch after another, the stream normalised after each. @param branches with the name of that norm */
export const normedInTurn =
  (...branches: readonly { readonly of: Sublayer; readonly norm: Norm; readonly name: string }[]): Sublayer =>
  (b, x, batch) =>
    branches.reduce((stream, { of, norm, name }) => norm(b, name, op.add(stream, of(b, stream, batch))), x);

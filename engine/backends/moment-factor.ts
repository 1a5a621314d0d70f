/** The triangular factor of a second moment, its columns in the order in which they are rounded. */
import { UserError } from '../errors.js';
import { requireFinite } from '../execution/finite.js';
import type { Programs } from '../runtime/programs.js';
import { factorBlocks } from './block-factor.js';
import { setElement, toChunks, type Chunked } from './columns.js';

/** So far damping is raised, tenfold each time (docs/METHOD.md, section 13). */
const MAX_DAMPING = 100;

/**
 * M = H + λI with its columns in another order, and U upper triangular with UᵀU = M. Columns are rounded from the last
 * place to the first: U_jj² is what an error of the column at place j costs once those before it in the order, which are
 * rounded after it, have made up for it.
 */
export interface Factored {
  /** The column at each place: by rising H_jj, so that the one that matters most is rounded first. */
  readonly order: Uint32Array;
  /** [n, n] */
  readonly moment: Chunked;
  /** [n, n], of which nothing but the upper triangle is not zero. */
  readonly upper: Chunked;
  /** The inverses of U's squares on the diagonal, each [panel, panel]. */
  readonly inverses: readonly Float32Array[];
  /** Inputs that were never active. */
  readonly dead: ReadonlySet<number>;
}

export interface FactorHooks {
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
}

/**
 * λ is `damping` times the mean diagonal of the live inputs, and ten times as much, with a note, each time that is too
 * little for M to be positive definite. An input that was never active has the mean on the diagonal, and counts for
 * nothing else.
 * @param hessian H [n, n], symmetric, up to a factor, which changes nothing that is made of U
 * @param layer names it in messages
 */
export async function factorMoment(
  programs: Programs,
  hessian: Float32Array,
  n: number,
  damping: number,
  layer: string,
  { signal, note }: FactorHooks,
): Promise<Factored> {
  const diagonal = Float64Array.from({ length: n }, (_, i) => hessian[i * n + i]!);
  const dead = new Set([...diagonal.keys()].filter((i) => diagonal[i] === 0));
  const live = n - dead.size;
  const mean = live > 0 ? diagonal.reduce((sum, x) => sum + x, 0) / live : 1;
  const order = byRisingDiagonal(diagonal);
  for (let share = damping; share <= MAX_DAMPING; share *= 10) {
    const moment = toChunks(hessian, n, order, order);
    for (const [place, column] of order.entries())
      setElement(moment, place, place, (diagonal[column]! || mean) + share * mean);
    const found = await factorBlocks(programs, moment, signal);
    if (found) return { order, moment, dead, ...found };
    // What is not finite reaches a pivot, so that there is no factor.
    requireFinite(hessian, layer);
    if (share * 10 <= MAX_DAMPING)
      note(
        `${layer}: damping of ${percent(share)} is too little for its inputs' second moments; trying ${percent(share * 10)}.`,
      );
  }
  throw new UserError(
    `${layer}: the second moments of its inputs cannot be factored; calibrate on more, or other, data.`,
  );
}

const percent = (share: number) => `${Number((100 * share).toPrecision(3))} %`;

/** Of equal ones, the column that comes first is placed last, to be rounded first. */
function byRisingDiagonal(diagonal: Float64Array): Uint32Array {
  return Uint32Array.from(diagonal.keys()).sort((a, b) => diagonal[a]! - diagonal[b]! || b - a);
}

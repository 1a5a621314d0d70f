/** How far apart two models' scores on the same samples are, and how far they must be to differ by more than chance. */
import { mainScore } from './rows.js';
import type { Difference, EvaluationRow } from '../protocol/protocol.js';

/**
 * The standard error of a mean difference d̄ of two models' scores on the same samples, √(Σ(dᵢ − d̄)² / (n(n − 1))).
 * Undefined for fewer than two samples, and where all differences are the same, which tells nothing of how far they scatter.
 * @param sum Σ dᵢ @param squares Σ dᵢ²
 */
export const errorOfSums = (n: number, sum: number, squares: number): number | undefined =>
  n < 2 || !(squares - (sum * sum) / n > 1e-12 * squares)
    ? undefined
    : Math.sqrt((squares - (sum * sum) / n) / (n * (n - 1)));

/** `errorOfSums` of the scores themselves, a sample each. */
export function pairedError(own: ArrayLike<number>, reference: ArrayLike<number>): number | undefined {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < own.length; i++) {
    const difference = own[i]! - reference[i]!;
    sum += difference;
    squares += difference * difference;
  }
  return errorOfSums(own.length, sum, squares);
}

/** A row and what its scores are made of, a sample each, in the order of all rows. */
export interface Scored {
  readonly row: EvaluationRow;
  readonly samples: {
    /** Scaled so that the main score moves as their mean does; empty where nothing can be scored. */
    readonly score: ArrayLike<number>;
    /** Divergences in nats. */
    readonly kl?: ArrayLike<number>;
  };
}

/** The row with its error, and how far it is from the rows before it, the first of which is full precision. */
export function withDistances(own: Scored, before: readonly Scored[]): EvaluationRow {
  const [full, ...others] = before;
  if (!full) return own.row;
  const scoreError = pairedError(own.samples.score, full.samples.score);
  const against = others
    .filter(({ row }) => isHeldAgainst(own.row, row) && row.bits === own.row.bits)
    .map((other) => differenceOf(own, other));
  return { ...own.row, ...finite({ scoreError }), ...(against.length > 0 && { against }) };
}

/** A set against all before it, a file against sets. */
const isHeldAgainst = (own: EvaluationRow, other: EvaluationRow): boolean =>
  (own.kind === 'adapters' && other.kind !== 'exported') ||
  (own.kind === 'exported' && other.kind === 'adapters');

function differenceOf(own: Scored, other: Scored): Difference {
  const { label, kind } = other.row;
  const less = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined ? undefined : a - b;
  return {
    ...{ label, kind },
    ...finite({
      score: less(mainScore(own.row), mainScore(other.row)),
      scoreError: pairedError(own.samples.score, other.samples.score),
      kl: less(own.row.kl, other.row.kl),
      klError: own.samples.kl && other.samples.kl && pairedError(own.samples.kl, other.samples.kl),
    }),
  };
}

/** Without what is missing or NaN. */
export const finite = <K extends string>(
  values: Readonly<Record<K, number | undefined>>,
): Partial<Record<K, number>> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => Number.isFinite(value))) as Partial<
    Record<K, number>
  >;

/** What an evaluation yields, whatever it measures: a row for full precision and one for each candidate. */
import { UserError } from '../errors.js';
import type { OpenPart, PassHooks } from '../execution/part-by-part.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Model } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { formatWidth } from '../plans/numbers.js';
import type { EvaluationRow, RowHead } from '../protocol/protocol.js';
import { checkpointBytes } from '../quantized/size.js';
import { foreignScores, type ForeignScored } from './foreign-losses.js';
import { tokenScores, type Scored, type TokenScores } from './token-losses.js';

export interface EvaluationHooks {
  readonly signal: AbortSignal;
  /**
   * @param done 0 to 1
   * @param rows those that have a score by now, full precision first; `samples` tells how much a score rests on
   */
  readonly status: (done: number, rows: readonly EvaluationRow[]) => void;
}

/** A language model at a precision, to be run part by part, full precision too; or in a runtime that is not this engine's. */
export type TextCandidate = OwnCandidate | ForeignCandidate;

/** Full precision, and what is held against it. */
export type TextCandidates = readonly [OwnCandidate, ...TextCandidate[]];

export interface ForeignCandidate extends RowHead {
  readonly start: ForeignScored['start'];
}

export interface OwnCandidate extends RowHead {
  /** @param checkpoint may be built for texts of any length; the model that comes back is built for the same */
  build(checkpoint: Checkpoint): { readonly model: Model; readonly open: OpenPart };
}

/** How a candidate scores texts. @param checkpoint built for texts of their length */
export function scoresOf(
  programs: Programs,
  checkpoint: Checkpoint,
  candidate: TextCandidate,
  { texts, limits, reference, keep }: Pick<Scored, 'texts' | 'limits' | 'reference' | 'keep'>,
  hooks: PassHooks,
): Promise<TokenScores> {
  const compared = reference && { reference };
  if ('start' in candidate) {
    const { start, label } = candidate;
    return foreignScores(programs, { start, label, head: checkpoint.model.head, texts, ...compared }, hooks);
  }
  const own = { ...candidate.build(checkpoint), texts, limits, ...compared, ...(keep && { keep }) };
  return tokenScores(programs, own, hooks);
}

/** The score that a row's task is known by. */
export const mainScore = ({ top1, perplexity, accuracy }: EvaluationRow): number | undefined =>
  top1 ?? perplexity ?? accuracy;

export const rowOf = ({ label, kind, method, runtime, bits, averageBits, bytes }: RowHead): RowHead => ({
  label,
  kind,
  ...(method !== undefined && { method }),
  ...(runtime !== undefined && { runtime }),
  bits,
  ...(averageBits !== undefined && { averageBits }),
  bytes,
});

/** What the row of full precision says of its model. */
export const fullHead = (checkpoint: Checkpoint): RowHead => ({
  label: 'full',
  kind: 'full',
  bits: 'fp',
  bytes: checkpointBytes(checkpoint),
});

/** Throws UserError where a model yields anything that is not a finite number: nothing it is scored by would be true. */
export function requireFinite(
  values: Float32Array | Float64Array | readonly number[],
  { label, bits }: Pick<RowHead, 'label' | 'bits'>,
): void {
  if (values.every((value: number) => Number.isFinite(value))) return;
  throw new UserError(
    bits === 'fp'
      ? 'The model in full precision yields numbers that are not finite, and cannot be scored or compared with.'
      : `${label} at ${formatWidth(bits, 'en')} bits yields numbers that are not finite, and cannot be scored; leave it out.`,
  );
}

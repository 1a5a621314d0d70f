/** What an evaluation yields, whatever it measures: a row for full precision and one for each candidate. */
import type { OpenPart } from '../execution/part-by-part.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Model } from '../models/model.js';

export interface EvaluationRow {
  /** The kind, told further where several rows have it; for an adapter set its name. */
  readonly label: string;
  readonly kind: 'full' | 'rounding' | 'gptq' | 'adapters';
  /** A bit-width, or the mean over layers that have different ones. */
  readonly bits: number | 'fp';
  /** Size of the model (`size.ts`): on disk in full precision, as integers at a bit-width. */
  readonly bytes: number;
  /** Pictures, windows of text or questions that the scores are means over. */
  readonly samples: number;
  /** Shares of 0 to 1 of the labelled pictures; absent where none has a label. */
  readonly top1?: number;
  readonly top5?: number;
  /** Mean KL(p_full ‖ p) in nats over the softmax of the logits. */
  readonly kl?: number;
  readonly perplexity?: number;
  /** Shares of 0 to 1 of the questions answered rightly: by log-likelihood, and by that a character of the choice. */
  readonly accuracy?: number;
  readonly accuracyNormalised?: number;
  /**
   * Standard error of how far the task's main score (top-1, perplexity, accuracy) is from full precision, in the score's
   * unit, the samples paired (`paired-error.ts`). Absent for full precision itself, and from a single sample.
   */
  readonly scoreError?: number;
  /** Of an adapter set: how far it is from every baseline and every set before it that has the same bits. */
  readonly against?: readonly Difference[];
}

/** How far a row's scores are from those of another row on the same samples; errors as `scoreError`. */
export interface Difference {
  /** The row that it is held against, at the same bits. */
  readonly label: string;
  readonly kind: EvaluationRow['kind'];
  /** The main score less that of the other row. */
  readonly score?: number;
  readonly scoreError?: number;
  /** The divergence less that of the other row, in nats. */
  readonly kl?: number;
  readonly klError?: number;
}

export interface EvaluationHooks {
  readonly signal: AbortSignal;
  /**
   * @param done 0 to 1
   * @param rows those that have a score by now, full precision first; `samples` tells how much a score rests on
   */
  readonly status: (done: number, rows: readonly EvaluationRow[]) => void;
}

/** What a row says of its model. */
export type RowHead = Pick<EvaluationRow, 'label' | 'kind' | 'bits' | 'bytes'>;

/** A language model at a precision, to be run part by part; full precision is one too. */
export interface TextCandidate extends RowHead {
  /** @param checkpoint may be built for texts of any length; the model that comes back is built for the same */
  build(checkpoint: Checkpoint): { readonly model: Model; readonly open: OpenPart };
}

/** The score that a row's task is known by. */
export const mainScore = ({ top1, perplexity, accuracy }: EvaluationRow): number | undefined =>
  top1 ?? perplexity ?? accuracy;

export const rowOf = ({ label, kind, bits, bytes }: RowHead): RowHead => ({ label, kind, bits, bytes });

/** Evaluations: what one is asked, its rows, and those that are kept. */
import type { SkippedSamples } from './common.js';
import type { DeviceKind, Placement } from './devices.js';

/** What is measured; it decides which scores a row has. */
export type EvaluationTask = 'image-classification' | 'perplexity' | 'multiple-choice';

export interface EvaluateRequest extends Placement {
  readonly model: string;
  readonly data: string;
  readonly adapters?: readonly string[];
  /** Default: all bit-widths of the adapter sets. */
  readonly bits?: readonly number[];
  /** Files of precision plans, evaluated with each adapter set; the default of `bits` is none then. */
  readonly plans?: readonly string[];
  readonly limit?: number;
  /** Tokens of a window of text, default the model's context, at most 2048; of a question and its choice, default its context. */
  readonly length?: number;
  /** Of a language model; default what the columns of the data say. */
  readonly task?: Exclude<EvaluationTask, 'image-classification'>;
  /** Methods that are calibrated for comparison, at the same bit-widths. */
  readonly baseline?: readonly string[];
  /** What they are calibrated on: default the first pictures of `data`; of text no default. */
  readonly baselineData?: string;
  /** How many samples of it; default the method's. */
  readonly baselineSamples?: number;
  /** Bytes of memory for activations of text. Default half of what is free. */
  readonly cacheMemory?: number;
  /** Files that exports of the adapter set wrote, each run in what it is for, beside the set at the same bits. */
  readonly exports?: readonly VerifiedExport[];
  /** Keeps the result as `evaluations/<this name>.json` in the first adapter set's folder, or the model's where there is none. */
  readonly save?: string;
}

/** A file or folder that an export wrote, and the bits that it was exported at. */
export interface VerifiedExport {
  readonly path: string;
  /** Of every layer. Either this or `plan`. */
  readonly bits?: number;
  readonly plan?: string;
  /** As it was exported. */
  readonly tie?: boolean;
}

export interface EvaluateResult extends SkippedSamples {
  readonly device: DeviceKind;
  /** What was measured; it decides which scores the rows have. */
  readonly task: EvaluationTask;
  /** Name of the evaluation set. */
  readonly data: string;
  /** Full precision first, then the baselines and the adapter sets, each from high to low bit-widths, then exported files. */
  readonly rows: readonly EvaluationRow[];
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
  /** The file it was kept in, where that was asked for. */
  readonly saved?: string;
}

/** Full precision, a set calibrated for comparison, an adapter set, a file that was exported. */
export type RowKind = 'full' | 'baseline' | 'adapters' | 'exported';

/** One model at one bit-width, over the whole evaluation set. */
export interface EvaluationRow {
  /** The kind, told further where several rows have it; for an adapter set its name, for a file its own. */
  readonly label: string;
  readonly kind: RowKind;
  /** The method of a quantized model. */
  readonly method?: string;
  /** What ran an exported file, such as `ONNX Runtime 1.30.0`. */
  readonly runtime?: string;
  /** A bit-width, or the mean over layers that have different ones. */
  readonly bits: number | 'fp';
  /** Of a quantized model, bits per weight of the layers of its blocks, everything stored counted. Absent in what was kept before it was told. */
  readonly averageBits?: number;
  /** Size of the model: on disk in full precision, as integers at a bit-width; of an exported file all that lies on disk. */
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
   * unit, the samples paired. Absent for full precision itself, and from a single sample.
   */
  readonly scoreError?: number;
  /** Of an adapter set: how far it is from every baseline and every set before it that has the same bits; of a file, from the sets. */
  readonly against?: readonly Difference[];
}

/** How far a row's scores are from those of another row on the same samples; errors as `scoreError`. */
export interface Difference {
  /** The row that it is held against, at the same bits. */
  readonly label: string;
  readonly kind: RowKind;
  /** The main score less that of the other row. */
  readonly score?: number;
  readonly scoreError?: number;
  /** The divergence less that of the other row, in nats. */
  readonly kl?: number;
  readonly klError?: number;
}

/** What a row says of its model. */
export type RowHead = Pick<
  EvaluationRow,
  'label' | 'kind' | 'method' | 'runtime' | 'bits' | 'averageBits' | 'bytes'
>;

export type EvaluationReport = ReadableEvaluation | UnreadableEvaluation;

interface EvaluationBase {
  readonly path: string;
  /** The file's, without `.json`. */
  readonly name: string;
  /** The one of `folders` that it was found in. */
  readonly folder: string;
  readonly modified: number;
}

export interface ReadableEvaluation extends EvaluationBase {
  readonly readable: true;
  readonly evaluation: Evaluation;
}

export interface UnreadableEvaluation extends EvaluationBase {
  readonly readable: false;
  readonly reason: string;
}

/** The content of an evaluation file (docs/FORMATS.md). */
export interface Evaluation {
  readonly schemaVersion: 1;
  readonly engineVersion: string;
  readonly model: { readonly family: string; readonly name: string; readonly fingerprint: string };
  /** The sets that were compared, by the label of their rows; the hash is that of their tensors. */
  readonly adapters: readonly { readonly label: string; readonly tensorsSha256: string }[];
  readonly result: EvaluateResult;
}

/** An evaluation, and its result as it comes about, whatever the task. */
import type { ElasticModel, Widths } from '../execution/quantized-model.js';
import type { AnyMethod, CommonSettings } from '../methods/method.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Model } from '../models/model.js';
import type {
  DeviceKind,
  EvaluateRequest,
  EvaluateResult,
  EvaluationRow,
  RowHead,
} from '../protocol/protocol.js';
import type { Baselines } from './baselines.js';
import type { NamedExport } from './exported.js';
import type { NamedSet } from './sets.js';

/** A result but for what the job adds. */
export type Measured = Omit<EvaluateResult, 'seconds' | 'peakMemory' | 'saved'>;

export interface EvaluationJobHooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 @param rows those that have a score by now */
  readonly status: (done: number, rows: readonly EvaluationRow[]) => void;
  /** A line worth the user's attention. */
  readonly note: (line: string) => void;
  /** Hears what is to be done before any of it is, and lets it begin, or rejects. */
  readonly begin?: (evaluated: Evaluated) => Promise<void>;
}

/** How much an evaluation is. */
export interface Evaluated {
  readonly samples: number;
  /** With that of full precision. */
  readonly rows: number;
  /** Those of baselines too. */
  readonly sets: number;
  readonly device: DeviceKind;
  /** What is calibrated before. */
  readonly baselines: readonly { readonly method: AnyMethod; readonly settings: CommonSettings }[];
}

/** What is to be evaluated. Whoever asks for it closes the sets and the baselines. @typeParam M the task's models */
export interface Evaluation<M extends Model = Model> {
  readonly request: EvaluateRequest;
  readonly checkpoint: Checkpoint<M>;
  readonly sets: readonly NamedSet[];
  /** The bit-widths that sets have rows for, from high to low. */
  readonly widths: readonly number[];
  readonly baselines: Baselines;
  /** Files that were exported of the sets. Whoever asks closes them. */
  readonly exports: readonly NamedExport[];
  readonly hooks: EvaluationJobHooks;
}

/** A model that stands at the bits of its layers that it is evaluated at, or can be switched to them. */
export interface Candidate extends RowHead {
  readonly bits: number;
  readonly widths: Widths;
  readonly model: ElasticModel;
}

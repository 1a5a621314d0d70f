/** What a task is: what a model is for, and all that depends on it. The list of them is `registry.ts`. */
import type { Candidate, Evaluation, Measured } from '../evaluation/evaluate.js';
import type { EvaluationHooks } from '../evaluation/rows.js';
import type { Distance } from '../execution/logit-divergence.js';
import type { RunnableModel } from '../execution/model.js';
import type { SampleCache } from '../execution/sample-store.js';
import type { CalibrationSet } from '../methods/method.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Model } from '../models/model.js';
import type { CalibrateResult, EvaluationRow, Prediction, PredictParams } from '../protocol/protocol.js';
import type { Programs } from '../runtime/programs.js';

/** How a calibration set is drawn. */
export interface Draw {
  readonly samples: number;
  readonly seed: number;
  /** Samples that are read at once. */
  readonly batch: number;
  /** Whether samples are the first of the data rather than drawn by the seed, where a task draws any. */
  readonly first?: boolean;
}

export interface ReadSet {
  readonly set: CalibrationSet;
  readonly skipped: CalibrateResult['skipped'];
}

/** What a model, in full precision or at a plan, makes of an input. @param heard of a text, all of it after each token */
export type Predict = (
  input: PredictParams['input'],
  model: RunnableModel,
  signal: AbortSignal,
  heard?: (text: string) => void,
) => Promise<Prediction>;

/** @typeParam M its models */
export interface Task<M extends Model = Model> {
  /** As `Model.task` says it. */
  readonly name: M['task'];
  readonly words: {
    /** A model of it, such as `an image classifier`. */
    readonly model: string;
    /** What it is calibrated and measured on, such as `pictures`. */
    readonly data: string;
  };
  /**
   * What a sensitivity is measured with where nobody says otherwise: enough samples to tell layers apart
   * (docs/METHOD.md, section 6).
   */
  readonly sensitivity: { readonly samples: number; readonly batch: number };
  /** Whether a request can say how long a sample is. */
  readonly hasLength: boolean;
  /** Whether baselines are calibrated on the evaluation set itself where no other is named. */
  readonly sharesData: boolean;
  /** Inputs beside the model's own that its samples come with, by their names. Default none. */
  readonly feeds?: readonly string[];
  /** How far one run of a model is from another. */
  readonly distance: Distance;
  /**
   * How many samples a calibration that asks for `samples` will see, as far as that is known without reading them.
   * Throws UserError where there is nothing at `path`.
   */
  count(path: string, samples: number): Promise<number>;
  /** The samples that a calibration or a measurement sees, as the model reads them. Throws UserError for unfit data. */
  read(
    checkpoint: Checkpoint<M>,
    path: string,
    draw: Draw,
    cache: SampleCache,
    signal: AbortSignal,
  ): Promise<ReadSet>;
  /** Full precision, baselines and sets on the evaluation set of a request. Throws UserError as `read`. */
  evaluate(evaluation: Evaluation<M>): Promise<Measured>;
  /** Throws UserError where the checkpoint lacks what an input is read with; so does `Predict`, for one of another kind. */
  predictor(programs: Programs, checkpoint: Checkpoint<M>): Promise<Predict>;
  /** The rows of an open model, in full precision and at its plan against that. Throws UserError as `read`. */
  measure(
    programs: Programs,
    checkpoint: Checkpoint<M>,
    models: { readonly full: RunnableModel; readonly plan: Candidate },
    data: { readonly path: string; readonly limit?: number },
    hooks: EvaluationHooks,
  ): Promise<MeasuredRows>;
}

/** Of the same samples. */
export interface MeasuredRows {
  readonly full: EvaluationRow;
  readonly plan: EvaluationRow;
}

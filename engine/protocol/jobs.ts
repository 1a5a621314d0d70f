/** Jobs: what is queued, runs, or has ended. */
import type { CalibrateRequest, CalibrateResult } from './calibration.js';
import type { EvaluateRequest, EvaluateResult } from './evaluations.js';
import type { SensitivityRequest, SensitivityResult } from './sensitivity.js';

export type JobKind = JobRecord['kind'];

/**
 * `queued` → `running` → `finished`, `failed` (the error says why), or `cancelled` by the client. `interrupted`: the
 * process that ran it ended first. A job whose process crashed goes on by itself once, but not after a second crash at
 * the same block.
 */
export type JobState = 'queued' | 'running' | 'interrupted' | 'finished' | 'failed' | 'cancelled';

interface JobBase {
  readonly id: string;
  readonly title: string;
  readonly state: JobState;
  readonly created: number;
  /** When it last began to run, and when it last stopped. */
  readonly started?: number;
  readonly ended?: number;
  /** Share of the work done. */
  readonly progress: number;
  /** Known after some of the work, while it runs. */
  readonly secondsLeft?: number;
  /** One line, of a failed or interrupted job. */
  readonly error?: string;
  /** Whether `jobs/resume` can continue it. */
  readonly resumable: boolean;
  /** How often its process crashed, and how often at the latest of these places. */
  readonly crashes: { readonly total: number; readonly block: number; readonly atBlock: number };
  /** It is queued or running in another engine on the same storage folder, which alone can cancel it. */
  readonly elsewhere: boolean;
}

export interface CalibrateJob extends JobBase {
  readonly kind: 'calibrate';
  readonly request: CalibrateRequest;
  readonly result?: CalibrateResult;
  /** The block it is at, from 0, and how many epochs of it are done; known once it has run. */
  readonly at?: {
    readonly block: number;
    readonly blocks: number;
    readonly epoch: number;
    readonly epochs: number;
  };
  /** Bit-widths of each bit group, high to low; empty before it has run. */
  readonly groups: readonly (readonly number[])[];
  /** One for each epoch done, in order. */
  readonly losses: readonly LossPoint[];
}

/** Mean reconstruction loss over one epoch of a block. */
export interface LossPoint {
  readonly block: number;
  readonly epoch: number;
  /** By bit group, in the order of `groups`. */
  readonly losses: readonly number[];
}

export interface EvaluateJob extends JobBase {
  readonly kind: 'evaluate';
  readonly request: EvaluateRequest;
  readonly result?: EvaluateResult;
  /** So far; the same as the result's in the end. */
  readonly rows: EvaluateResult['rows'];
}

export interface SensitivityJob extends JobBase {
  readonly kind: 'sensitivity';
  readonly request: SensitivityRequest;
  readonly result?: SensitivityResult;
  /** Layers that are measured, and how many there are; known once it has run. */
  readonly at?: { readonly layer: number; readonly layers: number };
}

export type JobRecord = CalibrateJob | EvaluateJob | SensitivityJob;

export interface JobParams {
  readonly id: string;
}

export interface JobResult {
  readonly job: JobRecord;
}

export type StartJobParams =
  | StartParams<'calibrate', CalibrateRequest>
  | StartParams<'evaluate', EvaluateRequest>
  | StartParams<'sensitivity', SensitivityRequest>;

interface StartParams<K extends JobKind, R> {
  readonly kind: K;
  readonly request: R;
  /** Default: what it does and the model's name. */
  readonly title?: string;
}

export interface RemoveJobParams extends JobParams {
  /** Also deletes what an unfinished calibration or sensitivity has kept (`<out>.partial`). */
  readonly deleteProgress?: boolean;
}

export interface JobLog {
  readonly text: string;
  /** The beginning was left out. */
  readonly truncated: boolean;
}

/** Jobs: what is queued, runs, or has ended. */
import type { CalibrateRequest, CalibrateResult } from './calibration.js';
import type { EvaluateRequest, EvaluateResult } from './evaluations.js';
import type { ExportRequest, ExportResult } from './exports.js';
import type { GetRequest, GetResult } from './hub.js';
import type { SensitivityRequest, SensitivityResult } from './sensitivity.js';

/** What each kind of job is asked and yields; `partial` is what of the result it has before its end. */
export interface JobTypes {
  calibrate: { request: CalibrateRequest; result: CalibrateResult; partial: never };
  evaluate: { request: EvaluateRequest; result: EvaluateResult; partial: Pick<EvaluateResult, 'rows'> };
  sensitivity: { request: SensitivityRequest; result: SensitivityResult; partial: never };
  export: { request: ExportRequest; result: ExportResult; partial: never };
  get: { request: GetRequest; result: GetResult; partial: never };
}

export type JobKind = keyof JobTypes;

/**
 * `queued` → `running` → `finished`, `failed` (the error says why), or `cancelled` by the client. `interrupted`: the
 * process that ran it ended first. A job whose process crashed goes on by itself once where it can be resumed, but not
 * after a second crash at the same place.
 */
export type JobState = 'queued' | 'running' | 'interrupted' | 'finished' | 'failed' | 'cancelled';

/** How far a job is, as it reports it. */
export interface Status {
  /** Share of all work done, 0 to 1. */
  readonly done: number;
  /** One short line for people, such as `block 3/12, epoch 2/20`. */
  readonly phase: string;
  /** Which of its steps it is at, from 0: crashes are counted by it, and what a series is along. */
  readonly place?: number;
  /** The newest figures of this place, such as the loss of each bit group. */
  readonly series?: readonly SeriesPoint[];
}

export interface SeriesPoint {
  /** Names the figure, such as `loss at 7/8 bits`. */
  readonly label: string;
  readonly value: number;
}

export interface Job<K extends JobKind> {
  readonly id: string;
  readonly kind: K;
  readonly request: JobTypes[K]['request'];
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
  /** Of its latest status; known once it has run, gone when it is finished. */
  readonly phase?: string;
  readonly place?: number;
  /** The last figures of each place that reported some, places rising. */
  readonly series: readonly { readonly place: number; readonly points: readonly SeriesPoint[] }[];
  /** Where the kind has any; gone when there is a result. */
  readonly partial?: JobTypes[K]['partial'];
  readonly result?: JobTypes[K]['result'];
  /** One line, of a failed or interrupted job. */
  readonly error?: string;
  /** Whether `jobs/resume` can continue it. */
  readonly resumable: boolean;
  /** How often its process crashed, and how often at the latest of these places. */
  readonly crashes: { readonly total: number; readonly place: number; readonly atPlace: number };
  /** It is queued or running in another engine on the same storage folder, which alone can cancel it. */
  readonly elsewhere: boolean;
}

export type CalibrateJob = Job<'calibrate'>;
export type EvaluateJob = Job<'evaluate'>;
export type SensitivityJob = Job<'sensitivity'>;
export type ExportJob = Job<'export'>;
export type GetJob = Job<'get'>;
export type JobRecord = { [K in JobKind]: Job<K> }[JobKind];

export interface StartParams<K extends JobKind> {
  readonly kind: K;
  readonly request: JobTypes[K]['request'];
  /** Default: what it does and the model's name. */
  readonly title?: string;
}

export type StartJobParams = { [K in JobKind]: StartParams<K> }[JobKind];

export interface JobParams {
  readonly id: string;
}

export interface JobResult {
  readonly job: JobRecord;
}

export interface RemoveJobParams extends JobParams {
  /** Also deletes what an unfinished job has kept to go on from (`<out>.partial`). */
  readonly deleteProgress?: boolean;
}

export interface JobLog {
  readonly text: string;
  /** The beginning was left out. */
  readonly truncated: boolean;
}

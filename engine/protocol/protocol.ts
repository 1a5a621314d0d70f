/**
 * Everything that travels between the engine and an editor: JSON-RPC 2.0 on stdio, framed by `Content-Length` headers
 * (docs/PROTOCOL.md). This file holds types and constants alone, so that either side can import it.
 *
 * Method names are the keys of `Requests` and `Notifications`. Paths are absolute. Times are milliseconds since 1970
 * (UTC), durations seconds, sizes bytes, shares 0 to 1. Optional keys are left out, never null.
 */
import type {
  CalibrateRequest,
  CalibrateResult,
  DeviceChoice,
  EvaluateRequest,
  EvaluateResult,
  SensitivityRequest,
  SensitivityResult,
} from '../jobs/requests.js';
import type { EvaluationRow } from '../evaluation/rows.js';
import type { AdapterSetConfig } from '../formats/adapter-set.js';
import type { Model } from '../models/model.js';
import type { DeviceReport } from '../runtime/devices.js';
import type { Budget } from '../plans/allocate.js';
import type { DeviceKind } from '../runtime/session.js';

export type {
  CalibrateRequest,
  CalibrateResult,
  DeviceChoice,
  EvaluateRequest,
  EvaluateResult,
  SensitivityRequest,
  SensitivityResult,
} from '../jobs/requests.js';
export type { Budget } from '../plans/allocate.js';
export type { EvaluationRow } from '../evaluation/rows.js';
export type { BitGroup, BlockLosses } from '../formats/adapter-set.js';
export type { DeviceReport } from '../runtime/devices.js';
export type { DeviceKind } from '../runtime/session.js';

/** Raised with every change that an older peer would misread. The handshake refuses another. */
export const PROTOCOL_VERSION = 1;

/** Codes of error responses. The first five are JSON-RPC's own, the sixth is that of the language server protocol. */
export const ErrorCode = {
  parseError: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  /** The parameters do not have the shape this file gives them; the message says where. */
  invalidParams: -32602,
  /** A defect of the engine; its stack is in the log. */
  internalError: -32603,
  /** The client cancelled the request with `$/cancelRequest`. */
  requestCancelled: -32800,
  /** Anything but `initialize` before it, or `initialize` twice. */
  notInitialized: -32002,
  /** Something a person can mend: the message is one line for them. */
  userError: 1,
  /** `initialize` with another protocol version. */
  versionMismatch: 2,
} as const;

/** From the client; each is answered by its result or an error. */
export interface Requests {
  /** First of all, once. */
  initialize: { params: InitializeParams; result: InitializeResult };
  /** Stops running jobs at once (they come back as interrupted), saves their records, answers, and ends the process. */
  shutdown: { params: Empty; result: Empty };
  /** Heartbeat: answered by a live engine within milliseconds. */
  ping: { params: Empty; result: Empty };

  /** Checkpoints in folders and below, in the order of their paths. With `search`, each is also notified as it is found. */
  'models/list': { params: ListModelsParams; result: { readonly models: readonly ModelReport[] } };
  /** Blocks and layers of one checkpoint. */
  'models/describe': { params: PathParams; result: ModelDescription | UnsupportedModel };

  /** Adapter sets in folders and below, each with the model it belongs to. */
  'adapters/list': { params: ListAdaptersParams; result: { readonly sets: readonly AdapterSetReport[] } };
  /** Renames the folder of an adapter set. Fails on a name that is unsafe or taken, and while a job works with the set. */
  'adapters/rename': { params: RenameParams; result: { readonly path: string } };

  /** All jobs of the storage folder, oldest first. */
  'jobs/list': { params: Empty; result: { readonly jobs: readonly JobRecord[] } };
  /** Checks the request and queues the job. One runs at a time. */
  'jobs/start': { params: StartJobParams; result: JobResult };
  /** Stops a queued or running job. The answer comes once it has stopped; a calibration keeps its progress. */
  'jobs/cancel': { params: JobParams; result: JobResult };
  /** Queues a job that is `resumable` to go on from its progress. */
  'jobs/resume': { params: JobParams; result: JobResult };
  /** Queues a failed, cancelled or interrupted job to run from its beginning; what a calibration had done is deleted. */
  'jobs/retry': { params: JobParams; result: JobResult };
  /** Forgets a job that is neither queued nor running, and deletes its log. */
  'jobs/remove': { params: RemoveJobParams; result: Empty };
  /** What a job reported, newest last. */
  'jobs/log': { params: JobParams; result: JobLog };

  /** Time and memory of a calibration before it starts, and the settings it would have. */
  'calibrate/estimate': { params: { readonly request: EstimateRequest }; result: CalibrateEstimate };

  /** Layers of a model, with what each bit-width costs and saves. */
  'precision/describe': { params: PrecisionParams; result: PrecisionTable };
  /** The best plans for every budget, by the measured sensitivity of the adapter set. */
  'precision/allocate': { params: AllocateParams; result: Allocation };

  /** Opens a model with its adapter set in a process of its own, beside itself in full precision, at the highest bit-width. */
  'session/open': { params: OpenSessionParams; result: OpenSessionResult };
  /** Switches layers. Recomputes those that change alone. */
  'session/use': { params: UseParams; result: UseResult };
  /** What the model says to a picture or a text, at its plan and in full precision. */
  'session/predict': { params: PredictParams; result: PredictResult };
  /** Measures the model at its plan: accuracy, or perplexity. Requests that come meanwhile wait; it can be cancelled. */
  'session/evaluate': { params: SessionEvaluateParams; result: SessionEvaluateResult };
  /** Ends a session. One that is gone already is no error. */
  'session/close': { params: SessionParams; result: Empty };

  /** Saved evaluations of adapter sets and models: the files in their `evaluations` folders, newest first. */
  'evaluations/list': {
    params: { readonly folders: readonly string[] };
    result: { readonly evaluations: readonly EvaluationReport[] };
  };
  /** One saved evaluation. */
  'evaluations/read': { params: PathParams; result: Evaluation };

  /** What can run here. Measured once a process, in a few seconds, and again with `refresh`. */
  'devices/list': {
    params: { readonly refresh?: boolean };
    result: { readonly devices: readonly DeviceReport[] };
  };
}

/** From the engine. */
export interface Notifications {
  /** A line for the log. */
  'engine/log': LogMessage;
  /** The engine's condition has changed. */
  'engine/health': Health;
  /** A checkpoint found by a `models/list` with `search`. */
  'models/found': { readonly search: string; readonly model: ModelReport };
  /** A job was added or has changed, at most four times a second while it runs. */
  'jobs/changed': { readonly job: JobRecord };
  /** A session has ended without being asked: it was idle, or its process crashed. */
  'session/closed': SessionClosed;
  /** How far a `session/evaluate` is. */
  'session/progress': SessionProgress;
  /** A job is gone. */
  'jobs/removed': { readonly id: string };
}

export type RequestMethod = keyof Requests;
export type ParamsOf<M extends RequestMethod> = Requests[M]['params'];
export type ResultOf<M extends RequestMethod> = Requests[M]['result'];
export type NotificationMethod = keyof Notifications;

export type Empty = Readonly<Record<string, never>>;

export interface PathParams {
  readonly path: string;
}

// The process

export interface InitializeParams {
  readonly protocolVersion: number;
  /** A folder of the client's for records and logs of jobs, made if need be. Several engines may share it. */
  readonly storage: string;
  /** The engine ends when this process is gone. */
  readonly hostProcess: number;
  /** For numbers and dates in messages, such as `de`; texts are English. */
  readonly locale?: string;
}

export interface InitializeResult {
  readonly protocolVersion: number;
  readonly engineVersion: string;
  readonly capabilities: Capabilities;
}

export interface Capabilities {
  readonly jobs: readonly JobKind[];
  /** Model families, by `model_type`. */
  readonly families: readonly string[];
}

export interface LogMessage {
  readonly level: 'debug' | 'info' | 'warning' | 'error';
  readonly message: string;
}

export interface Health {
  readonly health: 'ok' | 'warning' | 'error';
  /** Nothing is running or queued. */
  readonly quiescent: boolean;
  /** One line, where there is something to say. */
  readonly message?: string;
}

// Models

export interface ListModelsParams {
  readonly folders: readonly string[];
  /** A name of the client's choice that `models/found` repeats. */
  readonly search?: string;
}

/** A checkpoint folder. */
export type ModelReport = SupportedModel | UnsupportedModel;

export interface SupportedModel {
  readonly path: string;
  readonly name: string;
  readonly supported: true;
  readonly family: string;
  readonly task: Model['task'];
  readonly blocks: number;
  readonly layers: number;
  readonly parameters: number;
  /** Of the weights on disk. */
  readonly bytes: number;
}

export interface UnsupportedModel {
  readonly path: string;
  readonly name: string;
  readonly supported: false;
  /** One sentence. */
  readonly reason: string;
}

export interface ModelDescription extends Omit<SupportedModel, 'blocks' | 'layers'> {
  readonly blocks: readonly BlockDescription[];
}

export interface BlockDescription {
  /** The checkpoint's own, such as `vit.encoder.layer.0`. */
  readonly name: string;
  readonly parameters: number;
  /** On disk. */
  readonly bytes: number;
  readonly layers: readonly LayerDescription[];
}

export interface LayerDescription {
  /** The checkpoint's own and full, without `.weight`. */
  readonly name: string;
  /** [out, in] */
  readonly shape: readonly [number, number];
  /** On disk, weight and bias. */
  readonly bytes: number;
}

// Adapter sets

export interface ListAdaptersParams {
  /** Searched with everything below, as `models/list` does. */
  readonly folders: readonly string[];
  /** Checkpoint folders that sets can belong to. */
  readonly models: readonly string[];
}

export type AdapterSetReport = ReadableAdapterSet | UnreadableAdapterSet;

interface AdapterSetBase {
  readonly path: string;
  readonly name: string;
  /** The config's. */
  readonly modified: number;
}

export interface ReadableAdapterSet extends AdapterSetBase {
  readonly readable: true;
  /** Of config and tensors. */
  readonly bytes: number;
  /**
   * The one of `models` that it belongs to: the one it was calibrated for, as it is now; else the one whose folder holds
   * it, or one of the same name. Left out where there is none.
   */
  readonly model?: string;
  /** Whether that model is still, to the byte, the one it was calibrated for. */
  readonly matches: boolean;
  readonly config: Pick<
    AdapterSetConfig,
    | 'engine_version'
    | 'mode'
    | 'model'
    | 'calibration'
    | 'bit_groups'
    | 'embedding_bits'
    | 'head_bits'
    | 'kv_bits'
    | 'seed'
    | 'hyperparameters'
    | 'losses'
  >;
  /** Input columns that share a weight scale at each bit-width, -1 for a whole row: the smallest of any layer. */
  readonly groupSizes: Readonly<Record<string, number>>;
}

export interface UnreadableAdapterSet extends AdapterSetBase {
  readonly readable: false;
  readonly reason: string;
}

export interface RenameParams extends PathParams {
  /** The folder's new name, a name alone. */
  readonly name: string;
}

// Jobs

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

// Calibration

/** A calibration that need not say yet what it reads and where it writes. */
export interface EstimateRequest extends Omit<CalibrateRequest, 'data' | 'out' | 'resume'> {
  readonly data?: string;
}

export interface CalibrateEstimate {
  readonly seconds: number;
  /** Peak memory of the process that calibrates; on a graphics adapter its memory too. */
  readonly bytes: number;
  /** What `auto` comes to. */
  readonly device: DeviceKind;
  /** The device's measured rate of a matrix product, and the work of all steps in such products. */
  readonly gflops: number;
  readonly gflop: number;
  readonly settings: {
    readonly mode: AdapterSetConfig['mode'];
    /** High to low. */
    readonly groups: readonly { readonly bits: readonly number[]; readonly rank: number }[];
    /** No more than the calibration set has, where that is named and can be counted without reading it. */
    readonly samples: number;
    readonly epochs: number;
    readonly batch: number;
    readonly seed: number;
  };
}

// Evaluations

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

// Precision

export interface PrecisionParams {
  readonly model: string;
  readonly adapters?: string;
}

/** Layers of a model, with what each bit-width costs and saves. */
export interface PrecisionTable {
  readonly model: { readonly name: string; readonly task: Model['task']; readonly family: string };
  /** Offered bit-widths, ascending: the adapter set's, or 2 to 8 without one. */
  readonly bits: readonly number[];
  /** In the model's order. */
  readonly layers: readonly PrecisionLayer[];
  /** Everything that is in no layer (embedding, head, norms, biases, all adapters), as the set keeps it. */
  readonly otherBytes: number;
  /** Of the whole model in full precision as stored. */
  readonly fullBytes: number;
  readonly sensitivity?: SensitivityTable;
}

export interface PrecisionLayer {
  readonly name: string;
  /** The checkpoint's own, such as `vit.encoder.layer.0`. */
  readonly block: string;
  /** [out, in] */
  readonly shape: readonly [number, number];
  readonly weights: number;
  /** By bit-width: integers, scales and zero points. */
  readonly bytes: readonly number[];
  /** Layers of one number have one bit-width. */
  readonly tied?: number;
}

export interface SensitivityTable {
  readonly path: string;
  /** By layer, then bit-width, nats. */
  readonly costs: readonly (readonly number[])[];
  readonly samples: number;
  /** Name of the set it was measured on. */
  readonly data: string;
  /** One sentence: why it no longer holds. */
  readonly stale?: string;
}

export interface AllocateParams extends PrecisionParams {
  readonly budget: Budget;
  readonly constraints?: readonly LayerConstraint[];
  /** The best point within this size is among the points, whichever others are left out. */
  readonly within?: number;
}

export interface LayerConstraint {
  readonly layer: string;
  readonly min?: number;
  readonly max?: number;
  readonly fixed?: number;
}

export interface Allocation {
  /** Non-dominated, by size; the first is the smallest possible. Of very many, some are left out, evenly. */
  readonly points: readonly AllocationPoint[];
  /** Whether the points are the best there are; else sizes were rounded up to a multiple of `unit`. */
  readonly exact: boolean;
  readonly unit: number;
}

export interface AllocationPoint {
  /** In the budget's unit: the sum of bits, the sum of bits over all weights, or bytes. */
  readonly size: number;
  /** The sum of the layers' sensitivities, nats. */
  readonly cost: number;
  /** A digit a layer. */
  readonly bits: string;
}

// Sessions

export interface OpenSessionParams {
  readonly model: string;
  readonly adapters: string;
  readonly device?: DeviceChoice;
}

export interface OpenSessionResult {
  readonly session: string;
  readonly seconds: number;
}

export interface SessionParams {
  readonly session: string;
}

export interface UseParams extends SessionParams {
  /** A digit a layer, in the order of `precision/describe`. */
  readonly bits: string;
}

export interface UseResult {
  /** Layers whose weights were computed again. */
  readonly changed: number;
  readonly seconds: number;
}

export interface PredictParams extends SessionParams {
  /** `picture` is a picture's file in base64; `tokens` how many to add to the text. */
  readonly input: { readonly picture: string } | { readonly text: string; readonly tokens?: number };
}

export interface PredictResult {
  readonly seconds: number;
  readonly plan: Prediction;
  readonly full: Prediction;
}

/** The likeliest first. */
export type Prediction =
  | { readonly classes: readonly { readonly label: string; readonly probability: number }[] }
  | {
      readonly text: string;
      readonly next: readonly { readonly token: string; readonly probability: number }[];
    };

export interface SessionEvaluateParams extends SessionParams {
  readonly data: string;
  readonly limit?: number;
}

export interface SessionEvaluateResult {
  readonly row: EvaluationRow;
  readonly seconds: number;
}

export interface SessionClosed extends SessionParams {
  /** One sentence. */
  readonly reason: string;
}

export interface SessionProgress extends SessionParams {
  readonly done: number;
  readonly total: number;
}

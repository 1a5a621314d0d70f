/** What can be asked of the engine, and what it tells unasked. */
import type { CalibrateEstimate, EstimateRequest, MethodReport } from './calibration.js';
import type { Empty, PathParams } from './common.js';
import type { DeviceReport } from './devices.js';
import type { Health, InitializeParams, InitializeResult, LogMessage } from './process.js';
import type { Evaluation, EvaluationReport } from './evaluations.js';
import type { ExportedSet, ExportFormat, LlamaResult } from './exports.js';
import type { HubModel, HubModelParams } from './hub.js';
import type { JobLog, JobParams, JobRecord, JobResult, RemoveJobParams, StartJobParams } from './jobs.js';
import type { ListModelsParams, ModelDescription, ModelReport, UnsupportedModel } from './models.js';
import type {
  AllocateParams,
  Allocation,
  MeasurePlanParams,
  MeasurePlanResult,
  PrecisionParams,
  PrecisionTable,
} from './precision.js';
import type {
  OpenSessionParams,
  OpenSessionResult,
  PredictParams,
  PredictResult,
  SessionClosed,
  SessionEvaluateParams,
  SessionEvaluateResult,
  SessionParams,
  SessionProgress,
  SessionText,
  UseParams,
  UseResult,
} from './sessions.js';
import type { AdapterSetReport, DeletedSet, ListAdaptersParams, RenameParams, SetContents } from './sets.js';

/** From the client; each is answered by its result or an error. */
export interface Requests {
  /** First of all but `ping`, once. */
  initialize: { params: InitializeParams; result: InitializeResult };
  /** Stops running jobs at once (they come back as interrupted), saves their records, answers, and ends the process. */
  shutdown: { params: Empty; result: Empty };
  /** Heartbeat: answered by a live engine within milliseconds, at any time. */
  ping: { params: Empty; result: Empty };

  /** Checkpoints in folders and below, in the order of their paths. With `search`, each is also notified as it is found. */
  'models/list': { params: ListModelsParams; result: { readonly models: readonly ModelReport[] } };
  /** Blocks and layers of one checkpoint. */
  'models/describe': { params: PathParams; result: ModelDescription | UnsupportedModel };

  /**
   * A model of the hub: its files, what it is and what calibrating it would take. Only its configuration and the headers of its
   * weights are read. The job `get` downloads it.
   */
  'hub/look': { params: HubModelParams; result: HubModel };

  /** Adapter sets in folders and below, each with the model it belongs to. */
  'adapters/list': { params: ListAdaptersParams; result: { readonly sets: readonly AdapterSetReport[] } };
  /** Renames the folder of an adapter set. Fails on a name that is unsafe or taken, and while a job works with the set. */
  'adapters/rename': { params: RenameParams; result: { readonly path: string } };
  /** What of an adapter set's folder is the set's, and what is not. */
  'adapters/contents': { params: PathParams; result: SetContents };
  /** Deletes the files of an adapter set, and its folder if that is empty then. Fails while a job works with the set. */
  'adapters/delete': { params: PathParams; result: DeletedSet };

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

  /** The calibration methods that have something for a model, the usual one first. */
  'calibrate/methods': { params: PathParams; result: { readonly methods: readonly MethodReport[] } };
  /** Time and memory of a calibration before it starts, and the settings it would have. */
  'calibrate/estimate': { params: { readonly request: EstimateRequest }; result: CalibrateEstimate };

  /** Layers of a model, with what each bit-width costs and saves. */
  'precision/describe': { params: PrecisionParams; result: PrecisionTable };
  /** The best plans for every budget, by the measured sensitivity of the adapter set. */
  'precision/allocate': { params: AllocateParams; result: Allocation };
  /**
   * The plan within a budget that measures best: of the one predicted to be, a uniform bit-width and two between them. Takes
   * as long as running the model on all samples a few times; it can be cancelled.
   */
  'precision/measure': { params: MeasurePlanParams; result: MeasurePlanResult };

  /** Every export format there is, with what a set comes to in it at these bits. Nothing is written. */
  'exports/list': { params: ExportedSet; result: { readonly formats: readonly ExportFormat[] } };

  /** Whether llama.cpp is there, in which GGUF files are verified, and the arguments of npm that install it. */
  'exports/llama': { params: Record<string, never>; result: LlamaResult };

  /** Opens a model with its adapter set in a process of its own, beside itself in full precision, at the highest bit-width. */
  'session/open': { params: OpenSessionParams; result: OpenSessionResult };
  /** Switches layers. Recomputes those that change alone. */
  'session/use': { params: UseParams; result: UseResult };
  /** What the model says to a picture or a text, at its plan and in full precision. */
  'session/predict': { params: PredictParams; result: PredictResult };
  /** Measures the model at its plan: accuracy, or perplexity. Requests that come meanwhile wait; it can be cancelled. */
  'session/evaluate': { params: SessionEvaluateParams; result: SessionEvaluateResult };
  /** Ends a session. One that is gone already is not an error. */
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
  /** A `session/predict` that goes on with a text has another token. */
  'session/text': SessionText;
  /** A job is gone. */
  'jobs/removed': { readonly id: string };
}

export type RequestMethod = keyof Requests;
export type ParamsOf<M extends RequestMethod> = Requests[M]['params'];
export type ResultOf<M extends RequestMethod> = Requests[M]['result'];
export type NotificationMethod = keyof Notifications;

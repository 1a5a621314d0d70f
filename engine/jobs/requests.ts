/** What a worker thread can be asked to do, and what it reports meanwhile: what crosses threads and processes, but not the wire. */
import type {
  CalibrateEstimate,
  DeviceKind,
  DeviceReport,
  EstimateRequest,
  ExportedSet,
  ExportFormat,
  HubModel,
  HubModelParams,
  JobKind,
  JobTypes,
  Mode,
  ModelReport,
  SensitivityRequest,
  Status,
} from '../protocol/protocol.js';

export interface ModelsRequest {
  readonly folders: readonly string[];
}

export interface ImportRequest {
  readonly file: string;
  /** A folder that is not there yet. */
  readonly out: string;
  /** What weights are written in. */
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

export interface ImportResult {
  readonly out: string;
  readonly bytes: number;
  readonly family: string;
  readonly blocks: number;
  /** Of ggml's, in which the file had the weights. */
  readonly types: readonly string[];
}

/** What an estimate is made from: the calibration, and the devices with their rates. */
export interface EstimateJobRequest {
  readonly request: EstimateRequest;
  readonly devices: readonly DeviceReport[];
}

/** What a calibration by any method would be asked for. */
export type EstimateAllRequest = Omit<EstimateRequest, 'method' | 'options' | 'recipe' | 'data'>;

export interface Estimated {
  readonly method: string;
  /** Where the method has a choice of them. */
  readonly effort?: string;
  readonly mode: Mode;
  readonly bits: readonly number[];
  readonly samples: number;
  readonly forecast: Forecast;
}

/** What an adapter set is measured on, and how. */
export type MeasuringRequest = Omit<SensitivityRequest, 'out' | 'resume' | 'force'>;

/** Plans whose divergences are wanted. */
export interface ComparePlansRequest extends MeasuringRequest {
  /** Of each plan the bits of every layer, in the model's order. */
  readonly plans: readonly (readonly number[])[];
}

export interface ComparePlansResult {
  /** Mean distance from full precision of each plan, nats. */
  readonly costs: readonly number[];
  readonly samples: number;
  /** Name of what they were measured on. */
  readonly data: string;
}

/** Plans whose sizes in an export format are wanted. */
export interface SizeExportsRequest {
  readonly model: string;
  readonly adapters: string;
  readonly format: string;
  /** Of each plan the bits of every layer, in the model's order. */
  readonly plans: readonly (readonly number[])[];
}

/** What a plan takes in a format, or why that cannot hold it. */
export type PlanSize = { readonly bytes: number } | { readonly refusal: string };

/** @property partial what of the result there is by now */
export interface JobStatus<K extends JobKind> extends Status {
  readonly partial?: JobTypes[K]['partial'];
}

type QueuedJobs = {
  [K in JobKind]: {
    request: JobTypes[K]['request'];
    result: JobTypes[K]['result'];
    status: JobStatus<K>;
  };
};

/** The kinds of jobs, and work that is answered at once. */
export interface Jobs extends QueuedJobs {
  look: { request: HubModelParams; result: HubModel; status: never };
  models: { request: ModelsRequest; result: readonly ModelReport[]; status: never };
  estimate: { request: EstimateJobRequest; result: CalibrateEstimate; status: never };
  'estimate-all': { request: EstimateAllRequest; result: readonly Estimated[]; status: never };
  'compare-plans': { request: ComparePlansRequest; result: ComparePlansResult; status: Status };
  'list-exports': { request: ExportedSet; result: readonly ExportFormat[]; status: never };
  'size-exports': { request: SizeExportsRequest; result: readonly PlanSize[]; status: never };
  'import-gguf': { request: ImportRequest; result: ImportResult; status: Status };
  devices: { request: Record<string, never>; result: readonly DeviceReport[]; status: never };
}

export type WorkKind = keyof Jobs;

/** What work will take, before it begins. */
export interface Forecast {
  readonly seconds: number;
  /** Of memory, at the peak. */
  readonly bytes: number;
  /** Written to drives, temporary files included, at the most. */
  readonly disk: number;
  readonly device: DeviceKind;
}

export interface JobHooks<K extends WorkKind> {
  readonly signal: AbortSignal;
  status(status: Jobs[K]['status']): void;
  /** A line worth the user's attention. */
  note(line: string): void;
  /** Where somebody asks: hears what the work will take once nothing speaks against it, and lets it begin, or rejects. */
  readonly announce?: (forecast: Forecast) => Promise<void>;
}

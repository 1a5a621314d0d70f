/** What the engine can be asked to do, and how: what crosses threads and processes of its own, but not the wire. */
import type { CalibrationStatus } from '../methods/quept/calibrate.js';
import type {
  CalibrateEstimate,
  CalibrateRequest,
  CalibrateResult,
  DeviceReport,
  EstimateRequest,
  EvaluateRequest,
  EvaluateResult,
  EvaluationRow,
  ModelReport,
  SensitivityRequest,
  SensitivityResult,
} from '../protocol/protocol.js';

export interface ModelsRequest {
  readonly folders: readonly string[];
}

export interface EvaluateStatus {
  /** Share of all work done, 0 to 1. */
  readonly done: number;
  /** The result's rows as far as they have scores by now; `samples` tells how much a score rests on. */
  readonly rows: readonly EvaluationRow[];
}

export interface SensitivityStatus {
  /** Share of all work done, 0 to 1. */
  readonly done: number;
  /** Layers that are measured. */
  readonly layer: number;
  readonly layers: number;
}

/** What an estimate is made from: the calibration, and the devices with their rates. */
export interface EstimateJobRequest {
  readonly request: EstimateRequest;
  readonly devices: readonly DeviceReport[];
}

export interface Jobs {
  models: { request: ModelsRequest; result: readonly ModelReport[]; status: never };
  calibrate: { request: CalibrateRequest; result: CalibrateResult; status: CalibrationStatus };
  evaluate: { request: EvaluateRequest; result: EvaluateResult; status: EvaluateStatus };
  sensitivity: { request: SensitivityRequest; result: SensitivityResult; status: SensitivityStatus };
  estimate: { request: EstimateJobRequest; result: CalibrateEstimate; status: never };
  devices: { request: Record<string, never>; result: readonly DeviceReport[]; status: never };
}

export type JobKind = keyof Jobs;

export interface JobHooks<K extends JobKind> {
  readonly signal: AbortSignal;
  status(status: Jobs[K]['status']): void;
  /** A line worth the user's attention. */
  note(line: string): void;
}

/** What the engine can be asked to do: one request and one result a job, plain data that crosses threads and processes. */
import type { EvaluationRow } from '../evaluation/rows.js';
import type { AdapterSetConfig } from '../formats/adapter-set.js';
import type { MergeMode } from '../methods/quept/merge.js';
import type { CalibrationStatus } from '../methods/quept/calibrate.js';
import type { CalibrateEstimate, EstimateRequest, ModelReport } from '../protocol/protocol.js';
import type { DeviceReport } from '../runtime/devices.js';
import type { DeviceKind } from '../runtime/session.js';

export type DeviceChoice = DeviceKind | 'auto';

/** What every job may be told about where it runs. */
export interface Placement {
  /** Default `auto`: the fastest by measurement. */
  readonly device?: DeviceChoice;
  /** CPU threads; default one a physical core. */
  readonly threads?: number;
}

export interface ModelsRequest {
  readonly folders: readonly string[];
}

export interface CalibrateRequest extends Placement {
  readonly model: string;
  readonly data: string;
  readonly out: string;
  readonly resume?: boolean;
  /** Default `weight-activation` for pictures, `weight-only` for text. */
  readonly mode?: AdapterSetConfig['mode'];
  /** Tokens of a sample of text; default the model's context, at most 2048. */
  readonly length?: number;
  /** `default` is what does best by our measurements, `paper` the paper's own; single settings below override either. */
  readonly recipe?: 'default' | 'paper';
  /** Bit-widths in any order, grouped in pairs from the top; not together with `groups`. */
  readonly bits?: readonly number[];
  /** Bit-widths of each bit group, from high to low precision. */
  readonly groups?: readonly (readonly number[])[];
  /** Directions each group adds, or the directions that each group uses. */
  readonly rank?: number | readonly number[];
  readonly samples?: number;
  readonly epochs?: number;
  readonly batch?: number;
  readonly seed?: number;
  readonly loss?: 'mae' | 'mse';
  readonly merge?: MergeMode;
  readonly keep?: number;
  readonly clipStart?: 'paper' | 'search';
  readonly smooth?: 'on' | 'off';
  readonly guard?: 'on' | 'off';
  /** Bytes of memory for the activations of the calibration set; what does not fit goes to a file. Default half of what is free. */
  readonly cacheMemory?: number;
  /** Weights and activations of text: whether the model is rotated first; default on. */
  readonly rotation?: 'on' | 'off';
  /** Bits of keys and values in the cache, 2 to 8; default floating point. */
  readonly kvBits?: number;
  readonly rateLora?: number;
  readonly rateClip?: number;
  readonly rateScale?: number;
}

export interface CalibrateResult {
  readonly out: string;
  readonly device: DeviceKind;
  readonly bits: readonly number[];
  readonly samples: number;
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
}

export const BASELINES = ['rtn', 'gptq'] as const;
export type Baseline = (typeof BASELINES)[number];

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
  readonly task?: 'perplexity' | 'multiple-choice';
  /** Rows for comparison; `rtn` only rounds, `gptq` is for language models. */
  readonly baseline?: readonly Baseline[];
  /** Pictures that give rounding its activation ranges, default the first of `data`; text that GPTQ calibrates on, no default. */
  readonly baselineData?: string;
  /** How many of them; default 256 pictures, or as many windows as the first adapter set was calibrated on, or else 128. */
  readonly baselineSamples?: number;
  /** Bytes of memory for activations of text. Default half of what is free. */
  readonly cacheMemory?: number;
  /** Keeps the result as `evaluations/<this name>.json` in the first adapter set's folder, or the model's where there is none. */
  readonly save?: string;
}

export interface EvaluateResult {
  readonly device: DeviceKind;
  /** What was measured; it decides which scores the rows have. */
  readonly task: 'image-classification' | 'perplexity' | 'multiple-choice';
  /** Name of the evaluation set. */
  readonly data: string;
  /** Full precision first, then the baselines and the adapter sets, each from high to low bit-widths. */
  readonly rows: readonly EvaluationRow[];
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
  /** The file it was kept in, where that was asked for. */
  readonly saved?: string;
}

export interface EvaluateStatus {
  /** Share of all work done, 0 to 1. */
  readonly done: number;
  /** The result's rows as far as they have scores by now; `samples` tells how much a score rests on. */
  readonly rows: readonly EvaluationRow[];
}

export interface SensitivityRequest extends Placement {
  readonly model: string;
  readonly adapters: string;
  readonly data: string;
  /** The file it is written to; default `sensitivity.json` in the adapter set. */
  readonly out?: string;
  /** Default 128 pictures, or 32 windows of text. */
  readonly samples?: number;
  /** Samples that run at once; default 32, or 2 of text. */
  readonly batch?: number;
  readonly resume?: boolean;
  /** Bytes of memory for activations. Default half of what is free. */
  readonly cacheMemory?: number;
}

export interface SensitivityResult {
  readonly out: string;
  readonly device: DeviceKind;
  readonly layers: number;
  readonly bits: readonly number[];
  readonly samples: number;
  /** Share of the work that running the whole model for every layer and bit-width would have taken and this did not. */
  readonly saved: number;
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
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

/** Calibrations: what one is asked, what it yields, and what it will cost. */
import type { Skipped } from './common.js';
import type { DeviceKind, Placement } from './devices.js';

/** What is quantized. */
export type Mode = 'weight-activation' | 'weight-only';

export interface CalibrateRequest extends Placement {
  readonly model: string;
  readonly data: string;
  readonly out: string;
  readonly resume?: boolean;
  /** Default `weight-activation` for pictures, `weight-only` for text. */
  readonly mode?: Mode;
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
  readonly merge?: 'selective' | 'uniform' | 'random' | 'off' | 'drawn';
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
  readonly skipped: readonly Skipped[];
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
}

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
    readonly mode: Mode;
    /** High to low. */
    readonly groups: readonly { readonly bits: readonly number[]; readonly rank: number }[];
    /** No more than the calibration set has, where that is named and can be counted without reading it. */
    readonly samples: number;
    readonly epochs: number;
    readonly batch: number;
    readonly seed: number;
  };
}

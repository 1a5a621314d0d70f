/** Sensitivity: what each bit-width of each layer costs by itself. */
import type { DeviceKind, Placement } from './devices.js';

/** Costs are estimated from gradients, or each is measured by running the model. */
export type SensitivityKind = 'estimated' | 'measured';

export interface SensitivityRequest extends Placement {
  readonly model: string;
  readonly adapters: string;
  readonly data: string;
  /** The file it is written to; default `sensitivity.json` in the adapter set. */
  readonly out?: string;
  /** Default 128 pictures, or 32 windows of text. */
  readonly samples?: number;
  /** Tokens of a window of text; default the model's own, or 2048 of a model made for more. */
  readonly length?: number;
  /** Run the model for every bit-width of every layer, instead of estimating all from one pass and its gradients. */
  readonly exact?: boolean;
  /** Samples that run at once; default 32, or 2 of text. */
  readonly batch?: number;
  readonly resume?: boolean;
  /** Replace the sensitivity that is there, and what an unfinished measurement has kept, unless that is resumed. */
  readonly force?: boolean;
  /** Bytes of memory for activations. Default half of what is free. */
  readonly cacheMemory?: number;
}

export interface SensitivityResult {
  readonly out: string;
  /** Missing where a resumed measurement was found finished. */
  readonly device?: DeviceKind;
  readonly layers: number;
  readonly bits: readonly number[];
  readonly samples: number;
  readonly kind: SensitivityKind;
  /** Share of the work that running the whole model for every layer and bit-width would have taken and this did not. */
  readonly saved: number;
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
}

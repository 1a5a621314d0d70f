/** Calibrations: what one is asked, what it yields, and what it will cost. */
import type { Fact, SkippedSamples } from './common.js';
import type { DeviceKind, Placement } from './devices.js';

/** What is quantized. */
export type Mode = 'weight-activation' | 'weight-only';

/** What is asked of a calibration by any method. */
export interface CalibrateRequest extends Placement {
  readonly model: string;
  /** Pictures or text; left out where the method needs none. */
  readonly data?: string;
  readonly out: string;
  readonly resume?: boolean;
  /** Replace the adapter set in `out`, and what an unfinished calibration of it has kept, unless that is resumed. */
  readonly force?: boolean;
  /** Default: the first that `calibrate/methods` lists for the model and that has the mode and the recipe asked for. */
  readonly method?: string;
  /** The method's own options, by name (docs/COMMANDS.md). */
  readonly options?: Readonly<Record<string, unknown>>;
  /** The method's settings to start from, by name; single options override them. */
  readonly recipe?: string;
  /** Default: the method's usual one for the model. */
  readonly mode?: Mode;
  /** Bit-widths that the set shall offer, in any order. */
  readonly bits?: readonly number[];
  /** Tokens of a sample of text; default the model's context, at most 2048. */
  readonly length?: number;
  readonly samples?: number;
  readonly seed?: number;
  /** Bytes of memory for the activations of the calibration set; what does not fit goes to a file. Default half of what is free. */
  readonly cacheMemory?: number;
}

export interface CalibrateResult extends SkippedSamples {
  readonly out: string;
  /** Missing where a resumed calibration was found finished. */
  readonly device?: DeviceKind;
  readonly bits: readonly number[];
  readonly samples: number;
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
}

/** A calibration that need not say yet what it reads and where it writes. */
export type EstimateRequest = Omit<CalibrateRequest, 'out' | 'resume' | 'force'>;

export interface CalibrateEstimate {
  readonly seconds: number;
  /** Peak memory of the process that calibrates; on a graphics adapter its memory too. */
  readonly bytes: number;
  /** Written to the drive at the most: progress and set, and activations that memory has no room for. */
  readonly disk: number;
  /** What `auto` comes to. */
  readonly device: DeviceKind;
  /** The device's measured rate of a matrix product, and the work of all steps in such products. */
  readonly gflops: number;
  readonly gflop: number;
  readonly settings: {
    readonly method: string;
    readonly mode: Mode;
    /** From high to low. */
    readonly bits: readonly number[];
    /** No more than the calibration set has, where that is named and can be counted without reading it. */
    readonly samples: number;
    readonly seed: number;
    /** What else the method says of its settings. */
    readonly facts: readonly Fact[];
  };
}

/** A calibration method that has something for a model. */
export interface MethodReport {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** What it can quantize of the model, the usual first. */
  readonly modes: readonly MethodModeReport[];
  /** Settings to start from, the default first. */
  readonly recipes: readonly string[];
  readonly options: readonly MethodOptionReport[];
  /** What it does best at 2 bits and less, where it has something for that. */
  readonly extremes: readonly ExtremeReport[];
  /** Whether evaluations can calibrate it for comparison (`EvaluateRequest.baseline`). */
  readonly baseline: boolean;
}

/** What a method does in a mode where nothing else is asked. */
export interface MethodModeReport {
  readonly mode: Mode;
  /** From high to low. */
  readonly bits: readonly number[];
  /** All that can be asked for, from high to low. */
  readonly allowed: readonly number[];
  /** Samples that it draws; 0 where it needs none, and takes none. */
  readonly samples: number;
}

/** What to ask for where few bits are to be as good as they can be. */
export interface ExtremeReport {
  /** Bit-widths or averages of bits, from high to low. */
  readonly bits: readonly number[];
  /** The method's own, by name. */
  readonly options: Readonly<Record<string, string | number>>;
}

export interface MethodOptionReport {
  /** The key in a request's `options`. */
  readonly name: string;
  readonly help: string;
  /** What a value looks like; of choices, all there are. */
  readonly value: string;
  readonly choices?: readonly string[];
  /** What it is where nothing is given. */
  readonly standard?: string;
}

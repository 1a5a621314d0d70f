/** What a calibration method is. The list of them is `registry.ts`. */
import type { QuantizedSource } from '../execution/source.js';
import type { Distance } from '../execution/logit-divergence.js';
import type { ModelInputs, SampleCache } from '../execution/sample-store.js';
import type { JsonObject } from '../formats/json.js';
import type { ExpectedTensors, SetTensors, WrittenTensor } from '../formats/set.js';
import type { SetConfig } from '../formats/set-config.js';
import type { Work } from '../graph/work.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Fact, Mode, SetPart, Status } from '../protocol/protocol.js';
import type { WeightForm } from '../quantized/form.js';
import type { Programs } from '../runtime/programs.js';
import type { Outline } from '../transforms/transform.js';
import type { MethodOptions } from './options.js';
import type { ProgressFiles } from './progress.js';

/** The calibration set, preprocessed. */
export interface CalibrationSet {
  /** Pixels [channels, height, width] per sample, or ids [tokens]. */
  readonly inputs: ModelInputs;
  readonly name: string;
  readonly fingerprint: string;
}

/** What is asked of a calibration by any method. */
export interface CommonOptions {
  readonly mode?: Mode;
  /** Default: the method's first (`Method.recipes`). */
  readonly recipe?: string;
  readonly bits?: readonly number[];
  readonly samples?: number;
  readonly seed?: number;
}

/** What every method's settings say of themselves. */
export interface CommonSettings {
  readonly mode: Mode;
  /** Bit-widths that the set will offer, from high to low. */
  readonly offered: readonly number[];
  /** Samples to draw; 0 where nothing is calibrated on. */
  readonly samples: number;
  /** Samples that are read at once. */
  readonly batch: number;
  readonly seed: number;
}

export interface CalibrationCost {
  /** Of the whole calibration, on the device. */
  readonly work: Work;
  /** Elements that loops on the host go over, counted once for every range and bit-width tried. */
  readonly looked: number;
  /** Bytes of inputs and activations of the calibration set, which may lie in a file (`execution/sample-store.ts`). */
  readonly activations: number;
  /** The most bytes that all other tensors take at once, on host and device together. */
  readonly tensors: number;
  /** Bytes of the set, about. */
  readonly stored: number;
}

export interface CalibrationHooks {
  readonly signal: AbortSignal;
  status(status: Status): void;
  /** A line worth the user's attention. */
  note(line: string): void;
}

export interface CalibrationContext {
  readonly programs: Programs;
  readonly checkpoint: Checkpoint;
  /** Absent where the settings want no samples. */
  readonly set?: CalibrationSet;
  /** Holds activations; the result does not depend on how much of them it keeps in memory. */
  readonly cache: SampleCache;
  /** How far a run of the model is from another, in its task. */
  readonly distance: Distance;
  /** What was done before the calibration was interrupted, and what will be kept of it. */
  readonly progress: ProgressFiles;
  readonly hooks: CalibrationHooks;
}

/** What a calibration yields: what the method knows of a set's config, and the tensors. */
export interface Artefact extends Pick<
  SetConfig,
  'embedding_bits' | 'head_bits' | 'kv_bits' | 'transforms' | 'layers'
> {
  /** What the config keeps for the method's own reader, beside its name. */
  readonly method: JsonObject;
  readonly tensors: ReadonlyMap<string, WrittenTensor>;
}

/**
 * A calibration method.
 * @typeParam G what can be given: its own options, all optional @typeParam S its settings, all there
 */
export interface Method<G extends object, S extends CommonSettings> {
  readonly name: string;
  readonly words: { readonly title: string; readonly description: string };
  readonly options: MethodOptions<G>;
  /** Settings to start from, by name; the first is the default. */
  readonly recipes: readonly string[];
  /** What it does best at 2 bits and less, for people who choose it for that: bit-widths or averages, and its own options. */
  readonly extremes?: readonly Extreme<G>[];
  /** The modes that it has for a model, the usual one first; none where it has nothing for it. */
  modes(this: void, outline: Outline): readonly Mode[];
  /**
   * The settings that a request comes to. Throws UserError, in one line and before any work, for a model or options that
   * it refuses, and for an option that would have no effect.
   */
  settings(outline: Outline, common: CommonOptions, given: Partial<G>): S;
  /** Throws as `settings`. */
  cost(outline: Outline, settings: S, samples: number): CalibrationCost;
  /** What its settings are, for people, beside what all methods have. */
  facts(settings: S): readonly Fact[];
  calibrate(context: CalibrationContext, settings: S): Promise<Artefact>;
  /** The tensors of a set beside those of its transforms. Throws UserError for a config that is not the method's. */
  tensors(config: SetConfig): ExpectedTensors;
  /** What a set says of its bit-widths, for people. Throws as `tensors`. */
  parts(config: SetConfig): readonly SetPart[];
  /**
   * What a layer takes at an offered bit-width; absent where that is a grid of so many bits and the layer's group size.
   * @param layer its full name, one of the config's. Throws as `tensors`.
   */
  form?(config: SetConfig, layer: string, bits: number): WeightForm;
  /** @param checkpoint as the set's transforms leave it */
  open(programs: Programs, checkpoint: Checkpoint, config: SetConfig, tensors: SetTensors): QuantizedSource;
  /** What an evaluation shows beside sets of other methods, where it is asked for this one as a baseline. */
  baselines?(this: void, outline: Outline, sets: readonly SetConfig[]): readonly Baseline<G>[];
}

export interface Extreme<G extends object> {
  /** From high to low. */
  readonly bits: readonly number[];
  readonly given: Partial<G>;
}

/** A set that an evaluation calibrates for itself. */
export interface Baseline<G extends object> {
  readonly label: string;
  readonly common: CommonOptions;
  readonly given: Partial<G>;
}

/** A method whose options nobody outside it knows: it is given back the settings that it made. */
export type AnyMethod = Method<object, CommonSettings>;

/** What opening a set takes: every method has it, and exports that can be opened as sets. */
export type SetReader = Pick<AnyMethod, 'name' | 'words' | 'tensors' | 'parts' | 'form' | 'open'>;

/** Exports: a model with an adapter set at chosen bits, written for other tools. */
import type { DeviceKind, Placement } from './devices.js';

/** What is exported. */
export interface ExportedSet {
  readonly model: string;
  readonly adapters: string;
  /** Of every layer. Either this or `plan`. */
  readonly bits?: number;
  /** A precision plan. */
  readonly plan?: string;
}

/** What an export format makes of a set at its bits: a size, or why it refuses. */
export interface ExportFormat {
  /** As in `ExportRequest.format`. */
  readonly name: string;
  readonly title: string;
  /** What is written, in a few words. */
  readonly description: string;
  /** Ends the name of the file that is written; absent where it is a folder. */
  readonly ending?: string;
  /** What it will take; where it is not exact, at most. */
  readonly size?: { readonly bytes: number; readonly isExact: boolean };
  /** Why it cannot hold such a set, in one line. */
  readonly refusal?: string;
}

export interface ExportRequest extends ExportedSet, Placement {
  /** The name of an export format, such as `safetensors`. */
  readonly format: string;
  /** The file or folder that is written. It must not be there yet, nor lie in the model's folder. */
  readonly out: string;
}

export interface ExportResult {
  readonly out: string;
  readonly format: string;
  /** Mean over the weights of all layers. */
  readonly bits: number;
  /** Of each tensor that the format holds otherwise than the set says it, how. */
  readonly fits?: readonly ExportFit[];
  /** What was written. */
  readonly bytes: number;
  readonly device: DeviceKind;
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
}

/** How a format holds a quantized weight. */
export interface ExportFit {
  readonly tensor: string;
  /** What holds it, as the format calls it. */
  readonly container: string;
  /** Squared error of what is stored to what the set says, over the set's own to the model's weight. */
  readonly distance: number;
}

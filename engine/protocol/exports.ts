/** Exports: a model with an adapter set at chosen bits, written for other tools. */
import type { DeviceKind, Placement } from './devices.js';

/** What is exported. */
export interface ExportedSet {
  readonly model: string;
  readonly adapters: string;
  /** Of every layer. Either this or `plan`; neither where the format holds all bit-widths. */
  readonly bits?: number;
  /** A precision plan. */
  readonly plan?: string;
  /** Gives layers that vLLM runs as one (queries, keys and values; gate and up) the most bits that one of them has. */
  readonly tie?: boolean;
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
  /** Of an export that is not refused: how it holds the layers, those alike together. Absent where bits do not decide it. */
  readonly held?: readonly ExportHeld[];
  /** What some of its readers make difficulties about, and what helps, in one line. */
  readonly warning?: string;
  /** Why it cannot hold such a set, in one line. */
  readonly refusal?: string;
}

/** Layers that a format holds alike. */
export interface ExportHeld {
  /** What holds them, as the format calls it. */
  readonly container: string;
  readonly bits: number;
  readonly layers: number;
  /**
   * Squared error of what is stored to what the set says, over the set's own to the model's weight, of one of them; absent where
   * codes and zero points go over as they are, and scales in float16 or better.
   */
  readonly distance?: number;
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
  /** Mean over the weights of all layers; absent where the format holds all bit-widths. */
  readonly bits?: number;
  /** Of each tensor that the format holds otherwise than the set says it, how. */
  readonly fits?: readonly ExportFit[];
  /** What was written. */
  readonly bytes: number;
  /** A command line that runs it, for a shell as POSIX has it; words in capitals are to be filled in. */
  readonly serve?: string;
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

export interface LlamaResult {
  readonly installed: boolean;
  /** As `npm` is given them. */
  readonly install: readonly string[];
}

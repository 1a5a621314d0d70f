/** Exports: a model with an adapter set at chosen bits, written for other tools. */
import type { DeviceKind, Placement } from './devices.js';

export interface ExportRequest extends Placement {
  readonly model: string;
  readonly adapters: string;
  /** Of every layer. Either this or `plan`. */
  readonly bits?: number;
  /** A precision plan. */
  readonly plan?: string;
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
  /** What was written. */
  readonly bytes: number;
  readonly device: DeviceKind;
  readonly seconds: number;
  /** The highest resident memory of the process, bytes. */
  readonly peakMemory: number;
}

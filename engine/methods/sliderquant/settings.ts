/** What can be set about SliderQuant. */
import type { CommonSettings } from '../method.js';

export const WINDOWS = ['growing', 'sliding', 'single'] as const;
export const LOSSES = ['mse', 'mae'] as const;

export interface SliderquantGiven {
  readonly windows?: (typeof WINDOWS)[number];
  readonly fill?: number;
  readonly stages?: number;
  readonly epochs?: number;
  readonly batch?: number;
  readonly rank?: number;
  readonly adapterRate?: number;
  readonly clipRate?: number;
  readonly loss?: (typeof LOSSES)[number];
  readonly groupSize?: number;
}

export interface SliderquantSettings extends CommonSettings {
  /** `growing`: windows that grow, slide and shrink; `sliding`: those that slide alone; `single`: one block after another. */
  readonly windows: (typeof WINDOWS)[number];
  /** Blocks of the largest window that grows and shrinks. */
  readonly fill: number;
  /** How often all windows are trained, so many columns of weights quantized: of 2 stages half, then all. */
  readonly stages: number;
  /** Of a window, over all stages. */
  readonly epochs: number;
  /** Directions of a weight's correction; 0 for none. */
  readonly rank: number;
  readonly rates: { readonly adapters: number; readonly clips: number };
  readonly loss: (typeof LOSSES)[number];
  /** Input columns that share a scale at 4 bits and below; -1 for whole rows. */
  readonly groupSize: number;
}

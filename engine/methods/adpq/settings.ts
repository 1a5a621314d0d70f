/** What can be set about AdpQ. */
import type { CommonSettings } from '../method.js';

export const THRESHOLDS = ['matrix', 'group'] as const;
export const GRIDS = ['asymmetric', 'symmetric'] as const;

export interface AdpqGiven {
  readonly outliers?: number;
  readonly outlierBits?: number;
  readonly threshold?: (typeof THRESHOLDS)[number];
  readonly grid?: (typeof GRIDS)[number];
  readonly groupSize?: number;
}

export interface AdpqSettings extends CommonSettings {
  /** Share of the weights that are outliers, 0 to ½. */
  readonly outliers: number;
  /** Bits of outliers where they are more than the others'. */
  readonly outlierBits: number;
  /** What the share is of: the whole matrix, or each group of columns of a row. */
  readonly threshold: (typeof THRESHOLDS)[number];
  readonly grid: (typeof GRIDS)[number];
  /** Input columns that share the scales of both parts. */
  readonly groupSize: number;
}

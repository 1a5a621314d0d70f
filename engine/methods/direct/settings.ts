/** What can be set about the direct method. */
import type { CommonSettings } from '../method.js';
import type { Layout } from './grids.js';

/**
 * How much a calibration may cost: `quick`, one pass for all bit-widths; `default`, a stream of its own for each of 4 bits
 * and less, whose errors its targets make up for; `high`, weights of these trained too.
 */
export const EFFORTS = ['quick', 'default', 'high'] as const;
export type Effort = (typeof EFFORTS)[number];

export interface DirectGiven {
  readonly effort?: Effort;
  readonly groupSize?: number;
  readonly halfZeros?: number;
}

/** What a set's layout depends on. */
export interface DirectLayout {
  /** From high to low. */
  readonly offered: readonly number[];
  /** Input columns that share a scale at 4 bits and below, -1 for whole rows. */
  readonly groupSize: number;
  /** The highest bit-width whose zero points may be halves. */
  readonly halfZeros: number;
}

export interface DirectSettings extends CommonSettings, DirectLayout {
  readonly effort: Effort;
}

/** The highest bit-width that is calibrated on its own stream, on grids per group. */
export const LOW_BITS = 4;

/** The bit-widths that may have a stream of their own. */
export const ownWidths = ({ offered }: Pick<DirectLayout, 'offered'>): readonly number[] =>
  offered.filter((bits) => bits <= LOW_BITS);

export const layoutAt = (
  { groupSize, halfZeros }: Pick<DirectLayout, 'groupSize' | 'halfZeros'>,
  bits: number,
): Layout => ({
  bits,
  groupSize: bits <= LOW_BITS ? groupSize : -1,
  halves: bits <= halfZeros,
});

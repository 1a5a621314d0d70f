/** What can be set about the direct method. */
import type { CommonSettings } from '../method.js';
import type { Weighting } from '../loss-weights.js';
import type { Layout } from './grids.js';

/**
 * How much a calibration may cost: `quick`, one pass for all bit-widths; `default`, a stream of its own for each of 4 bits
 * and less, whose errors its targets make up for; `high`, weights of these trained too, block by block; `best`, all blocks at once.
 */
export const EFFORTS = ['quick', 'default', 'high', 'best'] as const;
export type Effort = (typeof EFFORTS)[number];

export interface DirectGiven {
  readonly effort?: Effort;
  readonly groupSize?: number;
  readonly halfZeros?: number;
  readonly weighting?: Weighting;
  readonly rotation?: 'on' | 'off';
  readonly kvBits?: number;
}

/** At best effort, samples that weights are computed from before they are trained on all. */
export const EARLY_SAMPLES = 256;

/** What a set's layout depends on. */
export interface DirectLayout {
  /** From high to low. */
  readonly offered: readonly number[];
  /** Input columns that share a scale at 4 bits and below, -1 for whole rows. */
  readonly groupSize: number;
  /** The highest bit-width whose zero points may be halves. */
  readonly halfZeros: number;
}

/** How activations are quantized: not at all, on grids of their own, or per token as they come. */
export const ACTIVATIONS = ['none', 'static', 'token'] as const;
export type Activations = (typeof ACTIVATIONS)[number];

export interface DirectSettings extends CommonSettings, DirectLayout {
  readonly effort: Effort;
  /** What tokens count in moments and errors. */
  readonly weighting: Weighting;
  readonly activations: Activations;
  /** Whether the model is rotated first. */
  readonly rotate: boolean;
  /** Of keys and values in the cache; 16 leaves them in floating point, as embedding and head. */
  readonly kvBits: number;
  readonly embeddingBits: number;
  readonly headBits: number;
}

/** The highest bit-width whose weights are on grids per group, and that has a stream of its own where just they are quantized. */
export const LOW_BITS = 4;

/** The bit-width near which others are stored. */
export const BASE = 8;

export const hasBase = ({ offered }: Pick<DirectLayout, 'offered'>): boolean =>
  offered.filter((bits) => bits > LOW_BITS).length > 1;

/** The bit-widths that may have a stream of their own: with activations all but the base, which others are stored near. */
export const ownWidths = (settings: Pick<DirectSettings, 'offered' | 'activations'>): readonly number[] =>
  settings.activations === 'none'
    ? settings.offered.filter((bits) => bits <= LOW_BITS)
    : settings.offered.filter((bits) => bits !== BASE || !hasBase(settings));

export const layoutAt = (
  { groupSize, halfZeros }: Pick<DirectLayout, 'groupSize' | 'halfZeros'>,
  bits: number,
): Layout => ({
  bits,
  groupSize: bits <= LOW_BITS ? groupSize : -1,
  halves: bits <= halfZeros,
});

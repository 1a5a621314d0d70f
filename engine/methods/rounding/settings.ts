/** What can be set about rounding. */
import type { CommonSettings } from '../method.js';

export interface RoundingGiven {
  readonly groupSize?: number;
  readonly rotation?: 'on' | 'off';
  readonly kvBits?: number;
}

export interface RoundingSettings extends CommonSettings {
  /** Input columns that share a weight scale at 4 bits and below; -1 for whole rows. */
  readonly groupSize: number;
  /** `static`: grids over percentile ranges. `token`: per token, as they come. Of no meaning for weights alone. */
  readonly activations: 'static' | 'token';
  readonly rotate: boolean;
  /** Of keys and values in the cache; 16 leaves them in floating point. */
  readonly kvBits: number;
  readonly embeddingBits: number;
  readonly headBits: number;
}

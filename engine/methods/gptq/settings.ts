/** What can be set about GPTQ. */
import type { CommonSettings } from '../method.js';

export interface GptqGiven {
  readonly groupSize?: number;
}

export interface GptqSettings extends CommonSettings {
  /** Input columns that share a scale at 4 bits and below. */
  readonly groupSize: number;
}

/** What can be set about output-adaptive calibration. */
import type { HessianKind } from '../../execution/hessians.js';
import type { CommonSettings } from '../method.js';

export const BACKENDS = ['gptq', 'spqr', 'billm'] as const;
export type BackendName = (typeof BACKENDS)[number];
export const HESSIANS = ['sequence', 'token', 'weighted', 'l2'] as const satisfies readonly (
  HessianKind | 'weighted'
)[];
export type HessianName = (typeof HESSIANS)[number];
export const SCHEMES = ['once', 'block', 'layer'] as const;
export type Scheme = (typeof SCHEMES)[number];
export const LABELS = ['data', 'sampled'] as const;
export type LabelKind = (typeof LABELS)[number];

export interface OacGiven {
  readonly backend?: BackendName;
  readonly averageBits?: number | readonly number[];
  readonly hessian?: HessianName;
  readonly rowSlices?: number;
  readonly mix?: number;
  readonly scheme?: Scheme;
  readonly labels?: LabelKind;
  readonly damping?: number;
  readonly groupSize?: number;
}

export interface OacSettings extends CommonSettings {
  readonly backend: BackendName;
  readonly hessian: HessianName;
  /** Slices of a layer's rows that have a Hessian each, at most. */
  readonly rowSlices: number;
  /** Share of the Hessian l2 in that of the loss, both with the same trace. */
  readonly mix: number;
  readonly scheme: Scheme;
  readonly labels: LabelKind;
  /** Share of the mean diagonal of a Hessian that is added to it; undefined where it is each back-end's own. */
  readonly damping: number | undefined;
  /** Input columns that share statistics (GPTQ: at 4 bits and below); undefined where averages of bits say how many (SpQR). */
  readonly groupSize: number | undefined;
}

/** Precision: what each bit-width of a model's layers costs and saves, and the plans that come of it. */
import type { Placement } from './devices.js';
import type { Task } from './models.js';
import type { SensitivityKind } from './sensitivity.js';

export interface PrecisionParams {
  readonly model: string;
  readonly adapters?: string;
}

/** Layers of a model, with what each bit-width costs and saves. */
export interface PrecisionTable {
  readonly model: { readonly name: string; readonly task: Task; readonly family: string };
  /** Offered bit-widths, ascending: the adapter set's, or 2 to 8 without one. */
  readonly bits: readonly number[];
  /** In the model's order. */
  readonly layers: readonly PrecisionLayer[];
  /** Everything that is in no layer (embedding, head, norms, biases): with the layers at their bits, what would ship. */
  readonly otherBytes: number;
  /** Of the whole model in full precision as stored. */
  readonly fullBytes: number;
  /** What it takes on disk to stay switchable, the original model and the adapter set; absent without a set. */
  readonly switchableBytes?: number;
  readonly sensitivity?: SensitivityTable;
}

export interface PrecisionLayer {
  readonly name: string;
  /** The checkpoint's own, such as `vit.encoder.layer.0`. */
  readonly block: string;
  /** [out, in] */
  readonly shape: readonly [number, number];
  readonly weights: number;
  /** By bit-width: integers, scales and zero points. */
  readonly bytes: readonly number[];
}

export interface SensitivityTable {
  readonly path: string;
  /** By layer, then bit-width, nats. */
  readonly costs: readonly (readonly number[])[];
  readonly kind: SensitivityKind;
  readonly samples: number;
  /** Name of the set it was measured on. */
  readonly data: string;
  /** One sentence: why it no longer holds. */
  readonly stale?: string;
}

/** What a budget limits: the mean bits of a weight of the layers, or the bytes of the whole model. */
export type Budget = 'average-bits' | 'bytes';

export interface AllocateParams extends PrecisionParams {
  readonly budget: Budget;
  readonly constraints?: readonly LayerConstraint[];
  /** The best point within this size is among the points, whichever others are left out. */
  readonly within?: number;
}

/** Asks for the plan within a size that measures best of a few. */
export interface MeasurePlanParams extends Omit<AllocateParams, 'within'>, Placement {
  readonly adapters: string;
  /** In the budget's unit, as of a point. */
  readonly within: number;
  /** What they are measured on: pictures or text. */
  readonly data: string;
}

export interface MeasurePlanResult extends MeasuredPlan {
  /** As of a point. */
  readonly bits: string;
  /** Bit-widths that it chooses from, ascending. */
  readonly offered: readonly number[];
}

/** What plans within a budget measured: the mean divergence of the whole model from full precision, nats. */
export interface MeasuredPlan {
  /** Of the best, the one that is given. */
  readonly cost: number;
  /** Of the plan whose layers' sensitivities add up to least. */
  readonly predictedBest: number;
  /** The highest bit-width that all layers can have within the budget; left out where none can be had. */
  readonly uniform?: { readonly bits: number; readonly cost: number };
  /** How many were measured. */
  readonly plans: number;
  readonly samples: number;
  /** Name of what they were measured on. */
  readonly data: string;
}

export interface LayerConstraint {
  readonly layer: string;
  readonly min?: number;
  readonly max?: number;
  readonly fixed?: number;
}

export interface Allocation {
  /** Bit-widths that the points choose from, ascending. */
  readonly offered: readonly number[];
  /** Non-dominated, by size; the first is the smallest possible. Of very many, some are left out, evenly. */
  readonly points: readonly AllocationPoint[];
  /** Whether the points are the best there are; else sizes were rounded up to a multiple of `unit`. */
  readonly exact: boolean;
  readonly unit: number;
}

export interface AllocationPoint {
  /** In the budget's unit: the sum of bits over all weights, or bytes. */
  readonly size: number;
  /** The sum of the layers' sensitivities, nats. */
  readonly cost: number;
  /**
   * One character per layer, in the order of `precision/describe`: the one whose code is 48 + the place of the layer's
   * bit-width among those offered, so `0` for the lowest.
   */
  readonly bits: string;
}

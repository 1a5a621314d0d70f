/** Adapter sets: what is found, and to which model it belongs. */
import type { Mode } from './calibration.js';
import type { PathParams } from './common.js';

export interface ListAdaptersParams {
  /** Searched with everything below, as `models/list` does. */
  readonly folders: readonly string[];
  /** Checkpoint folders that sets can belong to. */
  readonly models: readonly string[];
}

export type AdapterSetReport = ReadableAdapterSet | UnreadableAdapterSet;

interface AdapterSetBase {
  readonly path: string;
  readonly name: string;
  /** The config's. */
  readonly modified: number;
}

export interface ReadableAdapterSet extends AdapterSetBase {
  readonly readable: true;
  /** Of config and tensors. */
  readonly bytes: number;
  /**
   * The one of `models` that it belongs to: the one it was calibrated for, as it is now; else the one whose folder holds
   * it, or one of the same name. Left out where there is none.
   */
  readonly model?: string;
  /** Whether that model is still, to the byte, the one it was calibrated for. */
  readonly matches: boolean;
  readonly config: AdapterSetFacts;
  /** Input columns that share a weight scale at each bit-width, -1 for a whole row: the smallest of any layer. */
  readonly groupSizes: Readonly<Record<string, number>>;
}

/** What a set says of itself: keys of its `adapter_config.json` (docs/FORMATS.md). */
export interface AdapterSetFacts {
  readonly engine_version: string;
  readonly mode: Mode;
  readonly model: { readonly family: string; readonly fingerprint: string; readonly name: string };
  readonly calibration: { readonly fingerprint: string; readonly samples: number; readonly name: string };
  /** From high to low bits; ranks do not fall. */
  readonly bit_groups: readonly BitGroup[];
  /** 2 to 8, or 16 or 32 for floating point. */
  readonly embedding_bits: number;
  readonly head_bits: number;
  /** Bits of keys and values in the cache, 2 to 8; absent where they stay in floating point. */
  readonly kv_bits?: number;
  readonly seed: number;
  readonly hyperparameters: Readonly<Record<string, string | number | boolean | readonly number[]>>;
  readonly losses: readonly BlockLosses[];
}

/**
 * Bit-widths that share adapter directions. `rank` counts those the group uses: its own and all above. `gain` multiplies
 * their product: the group's weight is W + gain · B[:, :rank] A[:rank, :].
 */
export interface BitGroup {
  readonly bits: readonly number[];
  readonly rank: number;
  readonly gain: number;
}

/** Mean reconstruction loss of a block over its first and last epoch, by label of the bit group. */
export interface BlockLosses {
  readonly block: string;
  readonly first: Readonly<Record<string, number>>;
  readonly last: Readonly<Record<string, number>>;
}

export interface UnreadableAdapterSet extends AdapterSetBase {
  readonly readable: false;
  readonly reason: string;
}

export interface RenameParams extends PathParams {
  /** The folder's new name, a name alone. */
  readonly name: string;
}

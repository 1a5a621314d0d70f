/** Adapter sets: what is found, and to which model it belongs. */
import type { Mode } from './calibration.js';
import type { Fact, PathParams } from './common.js';

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
  readonly facts: AdapterSetFacts;
  /** Input columns that share a weight scale at each bit-width, -1 for a whole row: the smallest of any layer. */
  readonly groupSizes: Readonly<Record<string, number>>;
}

/** What a set says of itself. */
export interface AdapterSetFacts {
  readonly engineVersion: string;
  readonly method: { readonly name: string; readonly title: string };
  readonly mode: Mode;
  /** From high to low: 1 to 8, or averages such as 2.3. */
  readonly offered: readonly number[];
  readonly model: { readonly family: string; readonly fingerprint: string; readonly name: string };
  /** Left out where nothing was calibrated on. */
  readonly calibration?: { readonly fingerprint: string; readonly samples: number; readonly name: string };
  readonly seed: number;
  /** 2 to 8, or 16 or 32 for floating point. */
  readonly embeddingBits: number;
  readonly headBits: number;
  /** Bits of keys and values in the cache, 2 to 8; left out where they stay in floating point. */
  readonly kvBits?: number;
  /** What the method says of bit-widths, from high to low. */
  readonly parts: readonly SetPart[];
}

/** Bit-widths of a set that have something in common, and what that is. */
export interface SetPart {
  /** From high to low. */
  readonly bits: readonly number[];
  readonly facts: readonly Fact[];
}

export interface UnreadableAdapterSet extends AdapterSetBase {
  readonly readable: false;
  readonly reason: string;
}

/** The folder of an adapter set, by the names of what lies in it. */
export interface SetContents {
  /** Files of the set, its evaluations and measurements. */
  readonly files: readonly string[];
  /** What else is there; a folder counts as one. */
  readonly others: readonly string[];
}

export interface DeletedSet {
  /** Files that are gone, relative to the set's folder. */
  readonly deleted: readonly string[];
  /** What is left of the folder; where nothing is, it is gone too. */
  readonly kept: readonly string[];
}

export interface RenameParams extends PathParams {
  /** The folder's new name, a name alone. */
  readonly name: string;
}

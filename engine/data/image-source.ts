/** Pictures that were opened: what reads them, selects among them and aligns their labels shares. */
import type { Skipped } from './picture-set.js';
import type { Preprocessor } from './preprocessor.js';

export interface ImageBatch {
  /** Float32 `[count, channels, height, width]`. */
  readonly pixels: Float32Array;
  /** The source's own labels, -1 where there is none: see `alignLabels`. */
  readonly labels: Int32Array;
  readonly count: number;
}

/** Labelled or unlabelled pictures at one place, numbered from 0 in an order that is always the same. */
export interface ImageSource {
  readonly name: string;
  readonly kind: 'folder' | 'idx' | 'parquet';
  /** Pictures listed, readable or not. */
  readonly length: number;
  /** The names of labels 0, 1, …, where the source has them. */
  readonly classNames?: readonly string[];
  /** The label of each picture, -1 where it has none; absent where no picture has one. */
  readonly labels?: Int32Array;
  readonly labelled: boolean;
  /** Pictures left out, by the listing and so far by reading; each name once. */
  readonly skipped: readonly Skipped[];
  /**
   * Identifies the selected pictures (all, if no `indices`), their labels and their order: hex sha256 over a
   * line for each. The line of a file in a folder has its name and `hashFile` of it; of an IDX picture, a hash
   * of its bytes; of a Parquet row, its number and the name and `hashFile` of its file. `hashFile` samples
   * files above 1 MiB. Where the source lies does not matter.
   */
  fingerprint(indices?: readonly number[]): Promise<string>;
  /**
   * Reads pictures in the order of `indices`, a few at a time at once. One that cannot be read is named in
   * `skipped` and left out; batches are full all the same, save the last. `UserError` if none can be read.
   */
  batches(
    indices: Iterable<number>,
    batchSize: number,
    preprocessor: Preprocessor,
  ): AsyncIterable<ImageBatch>;
  /** Frees memory. The source can be used again. */
  close(): Promise<void>;
}

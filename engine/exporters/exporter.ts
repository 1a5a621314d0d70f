/** What an export format is. The list of them is `registry.ts`. */
import type { QuantizedSource } from '../execution/source.js';
import type { SetConfig } from '../formats/set-config.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { LinearEntry } from '../models/listing.js';
import type { Part } from '../models/model.js';
import type { QuantizedWeight } from '../quantized/weight.js';
import type { Programs } from '../runtime/programs.js';

/** A model with an adapter set, at the bits it is to be exported at. */
export interface ExportContext {
  readonly programs: Programs;
  /** The model as it is on disk. */
  readonly original: Checkpoint;
  /** Of the adapter set; its checkpoint is the original with the set's transforms applied. */
  readonly source: QuantizedSource;
  readonly config: SetConfig;
  /** Offered bits of a layer of a block, by its full name; of stems and head, `source.fixedBits` are. */
  readonly bitsOf: (layer: string) => number;
  readonly hooks: ExportHooks;
}

export interface ExportHooks {
  /** Where it is aborted, `write` throws CancelledError at the next safe point. */
  readonly signal: AbortSignal;
  /** @param done share of what is to be written, 0 to 1 @param phase one short line for people */
  status(done: number, phase: string): void;
  /** Is told of each tensor whose values the format cannot hold just as they are. */
  fit(fit: Fit): void;
}

/** How a format holds a quantized weight. */
export interface Fit {
  /** As the format calls it. */
  readonly tensor: string;
  /** What holds it, as the format calls it. */
  readonly container: string;
  /** Squared error of what is stored to what the set says, over the set's own to the model's weight; 0 where nothing is lost. */
  readonly distance: number;
}

/** What holds a quantized weight, known without it. */
export interface Holder {
  /** As the format calls it. */
  readonly container: string;
  /** Whether codes and zero points go over as they are, and scales in float16 or better. */
  readonly isExact: boolean;
  /** The values that readers of the format make of a weight. */
  stored(weight: QuantizedWeight): Float32Array;
}

/** Layers that a format holds alike. */
export interface Held {
  readonly container: string;
  readonly bits: number;
  readonly layers: number;
  /** As of `Fit`, of the first of them; absent where they are held exactly. */
  readonly distance?: number;
}

/** What an export will write. */
export interface ExportSize {
  readonly bytes: number;
  /** Whether it is these bytes; else it is at most so many. */
  readonly isExact: boolean;
}

export interface Exporter {
  /** As in `--format`. */
  readonly name: string;
  readonly words: { readonly title: string; readonly description: string };
  /** Ends the name of the file that it writes, such as `.bin`; absent where it writes a folder. */
  readonly ending?: string;
  /** Whether it holds all bit-widths of a set, whatever bits are asked for. */
  readonly holdsAllBits?: boolean;
  /** Why the format cannot hold such a set, in one line; undefined where it can. Nothing is read for it. */
  refuse(context: ExportContext): string | undefined;
  /** What holds a layer that is quantized, of an export that is not refused. Absent where bits do not decide it. */
  holderOf?(context: ExportContext, part: Part, layer: LinearEntry): Holder;
  /** How a format that holds all bit-widths holds each, of an export that is not refused. Reads one layer at most. */
  held?(context: ExportContext): Promise<readonly Held[]>;
  /** What some readers make difficulties about, of an export that is not refused, and what helps; in one line. */
  warn?(context: ExportContext): string | undefined;
  /** The command line that runs what was written to `out`. */
  serve?(context: ExportContext, out: string): string;
  /** Of an export that is not refused. Reads no weights. Throws UserError as `write`. */
  size(context: ExportContext): Promise<ExportSize>;
  /**
   * Makes `out`, a file or folder that is not there yet in a folder that is, whole or not at all: killed at any instant, it
   * leaves at most a temporary that the next export beside it removes. Throws UserError for what a person can mend.
   */
  write(context: ExportContext, out: string): Promise<void>;
}

/** What the steps of a block's calibration share. */
import type { Sources } from '../../execution/sample-store.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { PartListing } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import type { LossWeights } from '../loss-weights.js';
import type { CalibrationContext } from '../method.js';
import type { AdapterLayout } from './adapters.js';
import type { QueptOptions } from './options.js';

/** A calibration set is always there: QuEPT learns from samples. */
export type Context = Required<CalibrationContext>;

/** A block that is calibrated, and what it is calibrated with. */
export interface BlockContext {
  readonly context: Context;
  readonly options: QueptOptions;
  readonly part: Part;
  readonly listing: PartListing;
  readonly layout: AdapterLayout;
  /** What feeds side ports in full precision, and for each of the quantized streams. */
  readonly side: Sources;
  readonly sides: readonly Sources[];
  /** What tokens count, where that is what the loss makes of them. */
  readonly weights: LossWeights | undefined;
  /** As the checkpoint has them. */
  readonly parameters: ReadonlyMap<string, HostTensor>;
}

/** How a block's learned state is laid out under these options. */
import { cacheOf } from '../../execution/activations.js';
import type { PartListing } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import { adapterLayout, type AdapterLayout } from './adapters.js';
import { groupSizesOf, halvesOf, type QueptOptions } from './options.js';

/** Weight-only leaves activations alone and has a finer grid at low bit-widths. */
export function layoutOf(part: Part, listing: PartListing, options: QueptOptions): AdapterLayout {
  const isQuantized = options.mode === 'weight-activation';
  const isLearned = isQuantized && options.activations === 'static';
  return {
    ...adapterLayout(listing, options.groups, isLearned, true, groupSizesOf(options)),
    halves: halvesOf(options),
    tokens: isQuantized && !isLearned,
    cache: cacheOf(part, options.kvBits),
  };
}

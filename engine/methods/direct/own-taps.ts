/** A block as the stream of a bit-width has it. */
import { suffixOf } from '../../execution/sums.js';
import { tapPart } from '../../execution/taps.js';
import type { Graph } from '../../graph/ir.js';
import type { BlockAt } from '../walk.js';
import { streamQuantizers } from './quantizers.js';
import type { DirectSettings } from './settings.js';

/** The graph input for a layer's weight in the i-th of the bit-widths that have a stream. */
export const ownWeight = (layer: string, i: number): string => `${layer}.weight${suffixOf(i + 1)}`;

/** @param i of the bit-widths that have a stream @param done layers whose weights are quantized already */
export function ownTaps(
  graph: Graph,
  { part, listing, batch }: Pick<BlockAt, 'part' | 'listing' | 'batch'>,
  settings: Pick<DirectSettings, 'activations' | 'kvBits'>,
  i: number,
  done: ReadonlySet<string>,
): ReturnType<typeof tapPart> {
  const suffix = suffixOf(i + 1);
  const weightOf = (layer: string) => (done.has(layer) ? ownWeight(layer, i) : `${layer}.weight`);
  const quantizers = streamQuantizers(graph, part, listing, settings, suffix);
  return tapPart(graph, part, batch, suffix, weightOf, quantizers);
}

/** What is added up of a block: Hessians, and what tells inputs that are never active. */
import { hessianSums } from '../../execution/hessians.js';
import type { BlockGradients, LayerSums } from '../../execution/reverse-sweep.js';
import { addMoment, tokenWeights, type Tap } from '../../execution/taps.js';
import type { Graph, Shape } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { byInput } from '../../models/listing.js';
import type { OacSettings } from './settings.js';

/** The sum for the energy of each input of the layer that stands for those that read the same. */
export const energyOf = (layer: string): string => `${layer}.energy`;

/** The sum for the moment that no loss has a part in, of the layer that stands for those that read the same. */
export const plainOf = (layer: string): string => `${layer}.plain`;

/** Hessians [in, in], or [slices, in, in], by the layer's local name, and energies, of the layers given. */
export const oacSums =
  ({ hessian, rowSlices, mix }: Pick<OacSettings, 'hessian' | 'rowSlices' | 'mix'>): LayerSums =>
  (graph, layers, block) => {
    // What weighs tokens by their losses in full precision alone is, in full precision, what weighs each token.
    const sums = new Map(
      hessianSums(hessian === 'weighted' ? 'token' : hessian, rowSlices)(graph, layers, block),
    );
    addEnergies(graph, layers, block, sums);
    if (mix > 0) addPlain(graph, layers, block, sums);
    return sums;
  };

/** `energyOf` [1, in], Σ x² over all tokens, of the first of the layers given that reads an input. */
export function addEnergies(
  graph: Graph,
  layers: ReadonlyMap<string, Tap>,
  { listing, batch }: Pick<BlockGradients, 'listing' | 'batch'>,
  sums: Map<string, Shape>,
): void {
  for (const [{ name }] of byInput(listing.linears)) {
    const tap = layers.get(name);
    if (!tap) continue;
    const weights = tokenWeights(graph, tap, batch, 'alike');
    const shape = [1, tap.x.shape[1]!];
    const energy = op.reduceSum(op.mul(op.mul(tap.x, tap.x), weights), [0]);
    graph.output(energyOf(name), op.add(graph.input(`sum.${energyOf(name)}`, shape), energy));
    sums.set(energyOf(name), shape);
  }
}

/** `plainOf` [in, in], Σ x xᵀ over all tokens, of the first of the layers given that reads an input. */
export function addPlain(
  graph: Graph,
  layers: ReadonlyMap<string, Tap>,
  { listing, batch }: Pick<BlockGradients, 'listing' | 'batch'>,
  sums: Map<string, Shape>,
): void {
  for (const [{ name, in: n }] of byInput(listing.linears)) {
    const tap = layers.get(name);
    if (!tap) continue;
    const shape = [n, n];
    const before = graph.input(`sum.${plainOf(name)}`, shape);
    graph.output(plainOf(name), addMoment(tap.x, tokenWeights(graph, tap, batch, 'alike'), before));
    sums.set(plainOf(name), shape);
  }
}

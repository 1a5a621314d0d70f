/** What is added up of a block on the way back: Hessians, and what tells inputs that are never active. */
import { hessianSums } from '../../execution/hessians.js';
import type { LayerSums } from '../../execution/reverse-sweep.js';
import { tokenWeights } from '../../execution/taps.js';
import type { Shape } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { byInput } from '../../models/listing.js';
import type { OacSettings } from './settings.js';

/** The sum for the energy of each input of the layer that stands for those that read the same. */
export const energyOf = (layer: string): string => `${layer}.energy`;

/** Hessians [in, in] by the layer's local name, and `energyOf` [1, in], Σ x² over all tokens, of the first that reads an input. */
export const oacSums =
  ({ hessian }: Pick<OacSettings, 'hessian'>): LayerSums =>
  (graph, layers, block) => {
    const sums = new Map<string, Shape>(hessianSums(hessian)(graph, layers, block));
    for (const [{ name }] of byInput(block.listing.linears)) {
      const tap = layers.get(name)!;
      const weights = tokenWeights(graph, tap, block.batch, 'alike');
      const shape = [1, tap.x.shape[1]!];
      const energy = op.reduceSum(op.mul(op.mul(tap.x, tap.x), weights), [0]);
      graph.output(energyOf(name), op.add(graph.input(`sum.${energyOf(name)}`, shape), energy));
      sums.set(energyOf(name), shape);
    }
    return sums;
  };

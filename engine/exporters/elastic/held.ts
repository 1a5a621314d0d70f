/** How an elastic file holds each bit-width of a set. */
import { schemeOf } from '../../elastic/layout.js';
import { blocksOf } from '../../models/model.js';
import type { ExportContext, Held } from '../exporter.js';
import { partReader } from '../parameters.js';
import { elasticLayer, ROUNDED } from './layer.js';
import type { ElasticPlan } from './plan.js';

/** Codes of the set are held exactly. Where some are rounded from the base, the first layer is made to see how far from the set. */
export async function heldBits(context: ExportContext, plan: ElasticPlan): Promise<readonly Held[]> {
  const { offered } = context.source;
  const layers = Object.keys(context.config.layers).length;
  const isRounded = (bits: number) => schemeOf(plan.own, bits) === 'rounded';
  const distances = offered.some(isRounded) ? await ofFirstLayer(context, plan) : undefined;
  return offered.map((bits) => {
    const distance = distances?.get(bits);
    const container = isRounded(bits) ? ROUNDED : 'codes';
    return { container, bits, layers, ...(distance !== undefined && { distance }) };
  });
}

async function ofFirstLayer(context: ExportContext, plan: ElasticPlan): Promise<ReadonlyMap<number, number>> {
  const { model, listing } = context.source.checkpoint;
  const [part] = blocksOf(model);
  const [layer] = listing(part!).linears;
  const parameters = await partReader(context)(part!);
  const weight = parameters.get(`${layer!.name}.weight`)!.data;
  const { distances } = await elasticLayer(context, plan, part!.prefix + layer!.name, layer!, weight);
  return distances;
}

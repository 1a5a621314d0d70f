/** The weights that an export holds, of blocks and of what is at a fixed bit-width alike. */
import { roundedCodes } from '../execution/rounded.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { LinearEntry } from '../models/listing.js';
import { blocksOf, type Part } from '../models/model.js';
import type { WeightForm } from '../quantized/form.js';
import type { QuantizedWeight } from '../quantized/weight.js';
import type { ExportContext } from './exporter.js';

/** The bits that a layer is exported at; undefined where it stays in floating point. */
export function exportedBits(
  { source, bitsOf }: Pick<ExportContext, 'source' | 'bitsOf'>,
  part: Part,
  layer: Pick<LinearEntry, 'name'>,
): number | undefined {
  const isBlock = blocksOf(source.checkpoint.model).includes(part);
  return isBlock ? bitsOf(part.prefix + layer.name) : source.fixedBits(part);
}

/** What a layer takes at its bits, known without its weight. Only of layers that do not stay in floating point. */
export function exportedForm(context: ExportContext, part: Part, layer: LinearEntry): WeightForm {
  const bits = exportedBits(context, part, layer)!;
  const { source } = context;
  if (blocksOf(source.checkpoint.model).includes(part)) return source.form(part.prefix + layer.name, bits);
  return { kind: 'grid', in: layer.in, out: layer.out, bits, groupSize: -1 };
}

/**
 * A layer's weight at its bits; undefined where it stays in floating point.
 * @param parameters of the part, transforms applied
 */
export async function exportedWeight(
  context: ExportContext,
  part: Part,
  layer: LinearEntry,
  parameters: ReadonlyMap<string, HostTensor>,
): Promise<QuantizedWeight | undefined> {
  const { programs, source } = context;
  const bits = exportedBits(context, part, layer);
  if (bits === undefined) return undefined;
  if (blocksOf(source.checkpoint.model).includes(part)) return source.weight(part.prefix + layer.name, bits);
  return roundedCodes(programs, layer, parameters.get(`${layer.name}.weight`)!.data, bits, -1);
}

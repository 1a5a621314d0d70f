/** Output-adaptive calibration (Edalati et al. 2025) of a whole model. */
import { blocksOf } from '../../models/model.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import { blockFile } from '../progress.js';
import { writtenTensors } from '../weight-set.js';
import { backendAt, dampingOf, groupSizeOf } from './backends.js';
import { formsOf } from './config.js';
import { fileAt, quantizeInOrder } from './in-order.js';
import { quantizeOnce } from './once.js';
import { keptName } from './round.js';
import type { OacSettings } from './settings.js';

/** Quantizes the weights of all blocks at every bit-width. Embedding, head, norms and biases stay as they are. */
export async function calibrate(context: CalibrationContext, settings: OacSettings): Promise<Artefact> {
  const { checkpoint, progress } = context;
  const { offered, backend, groupSize } = settings;
  await (settings.scheme === 'once' ? quantizeOnce : quantizeInOrder)(context, settings);
  const layers = setLayers(checkpoint, offered, (bits) => groupSizeOf(settings, bits));
  const counted = offered.filter((bits) => backendAt(backend, bits) !== 'gptq');
  const method = {
    backend,
    hessian: settings.hessian,
    ...(settings.mix > 0 && { mix: settings.mix }),
    ...(settings.rowSlices > 1 && { row_slices: settings.rowSlices }),
    scheme: settings.scheme,
    labels: settings.labels,
    damping: dampingOf(settings, backend),
    ...(groupSize !== undefined && { group_size: groupSize }),
    ...(counted.length > 0 && { counts: await countsOf(context, settings, counted) }),
  };
  const forms = formsOf({ method: { name: 'oac', ...method }, layers });
  return {
    embedding_bits: 16,
    head_bits: 16,
    transforms: [],
    layers,
    method,
    tensors: writtenTensors(checkpoint, offered, forms, progress, (bits, index, layer) => ({
      file: fileOf(settings, bits, index),
      name: keptName(layer, bits),
    })),
  };
}

const fileOf = ({ scheme }: OacSettings, bits: number, index: number) =>
  scheme === 'once' ? blockFile(index) : fileAt(bits, index);

/** What blocks' files note of every layer at each of some bit-widths. */
async function countsOf(
  { checkpoint: { model, listing }, progress }: CalibrationContext,
  settings: OacSettings,
  counted: readonly number[],
): Promise<Record<string, Record<string, number>>> {
  const counts: Record<string, Record<string, number>> = {};
  for (const [index, part] of blocksOf(model).entries())
    for (const bits of counted) {
      const { notes } = (await progress.load(fileOf(settings, bits, index)))!;
      for (const { name } of listing(part).linears)
        (counts[part.prefix + name] ??= {})[bits] = notes[keptName(name, bits)]![0]!;
    }
  return counts;
}

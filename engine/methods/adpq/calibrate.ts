/** AdpQ of a whole model: which weights of each layer are outliers. The weights themselves are made where a set is opened. */
import { CancelledError } from '../../errors.js';
import type { JsonObject } from '../../formats/json.js';
import type { SetTensor } from '../../formats/set.js';
import { blocksOf } from '../../models/model.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import type { AdpqSettings } from './settings.js';
import { countOutliers, thresholdsOf } from './split.js';

export async function calibrate(
  { checkpoint, hooks }: Pick<CalibrationContext, 'checkpoint' | 'hooks'>,
  settings: AdpqSettings,
): Promise<Artefact> {
  const { offered, outliers, outlierBits, threshold, grid, groupSize } = settings;
  const blocks = blocksOf(checkpoint.model);
  const tensors = new Map<string, SetTensor>();
  const counts: Record<string, JsonObject> = {};
  for (const [index, part] of blocks.entries()) {
    hooks.status({
      done: index / blocks.length,
      phase: `block ${index + 1}/${blocks.length}`,
      place: index,
    });
    const parameters = await checkpoint.read(part);
    for (const { name } of checkpoint.listing(part).linears) {
      if (hooks.signal.aborted) throw new CancelledError();
      const weight = parameters.get(`${name}.weight`)!;
      const thresholds = thresholdsOf(weight, settings);
      counts[part.prefix + name] = { ...countOutliers(weight, thresholds, groupSize) };
      tensors.set(`${part.prefix}${name}.threshold`, { shape: [thresholds.length], data: thresholds });
    }
  }
  return {
    embedding_bits: 16,
    head_bits: 16,
    transforms: [],
    layers: setLayers(checkpoint, offered, () => groupSize),
    method: { outliers, outlier_bits: outlierBits, threshold, grid, counts },
    tensors,
  };
}

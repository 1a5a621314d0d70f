/** Which layers of a decoder see all tokens before them, and which a window of these. */
import { show } from '../../formats/paths.js';
import type { ModelConfig } from '../config.js';

/** By layer, the most tokens that one attends to, itself included; undefined for all before it. */
export type Windows = readonly (number | undefined)[];

/**
 * By layer, the window that `layer_types` gives it: `sliding_window` tokens where it slides; undefined where there are no types.
 * @param window what `sliding_window` means to the family
 */
export function windowsOfTypes(
  config: ModelConfig,
  depth: number,
  window: number | undefined,
): Windows | undefined {
  if (!config.has('layer_types')) return undefined;
  const types = config.texts('layer_types');
  const other = types.find((type) => !['full_attention', 'sliding_attention'].includes(type));
  if (other !== undefined)
    config.fail('layer_types', `has ${show(other)}; supported are "full_attention" and "sliding_attention"`);
  if (types.length !== depth)
    config.fail('layer_types', `must have an entry for each of ${depth} layers, found ${types.length}`);
  if (window === undefined && types.includes('sliding_attention'))
    config.fail('sliding_window', 'is missing or switched off, and "layer_types" has layers that slide');
  return types.map((type) => (type === 'sliding_attention' ? window : undefined));
}

/** The windows of `layer_types`, or else those of the layers that slide. */
export const readWindows = (
  config: ModelConfig,
  depth: number,
  window: number | undefined,
  slides: (layer: number) => boolean,
): Windows =>
  windowsOfTypes(config, depth, window) ??
  Array.from({ length: depth }, (_, layer) => (slides(layer) ? window : undefined));

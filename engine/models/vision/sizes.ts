/** Sizes of pictures and patches, read and bounded. */
import type { ModelConfig } from '../config.js';
import type { Patching } from './patches.js';

/** Far above any real model's; below these, numbers of elements are exact and the list of blocks is short. */
const MAX_SIDE = 1 << 16;
const MAX_CHANNELS = 1 << 10;
export const MAX_FEATURES = 1 << 20;
export const MAX_DEPTH = 1 << 12;

/** @param usual the sides where keys are missing */
export function readPatching(
  config: ModelConfig,
  usual: { readonly image: number; readonly patch: number },
): Patching {
  const [height, width] = config.pair('image_size', usual.image, MAX_SIDE);
  const [patchHeight, patchWidth] = config.pair('patch_size', usual.patch, MAX_SIDE);
  return {
    image: { channels: config.size('num_channels', 3, MAX_CHANNELS), height, width },
    patch: { height: patchHeight, width: patchWidth },
  };
}

/** Those of models whose patches have to tile a picture. */
export function readTiles(
  config: ModelConfig,
  usual: { readonly image: number; readonly patch: number },
): Patching {
  const patching = readPatching(config, usual);
  const { image, patch } = patching;
  if (image.height % patch.height !== 0 || image.width % patch.width !== 0)
    config.fail(
      'patch_size',
      `must divide image_size (${image.height}×${image.width}), found ${patch.height}×${patch.width}`,
    );
  return patching;
}

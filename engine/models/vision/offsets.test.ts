import { describe, expect, it } from 'vitest';
import { TINY } from '../../../test/tiny.js';
import { ModelConfig } from '../config.js';
import { buildModel } from '../registry.js';

describe('pairs of patches', () => {
  const build = (name: string, other: object) => () =>
    buildModel(new ModelConfig({ ...TINY[name], ...other }, 'config.json'));

  it.each([
    ['beit', { image_size: 65_536, patch_size: 1, use_relative_position_bias: true }, 'image_size'],
    ['swin', { window_size: 80 }, 'window_size'],
    ['swin', { image_size: 65_536, patch_size: 4, window_size: 8 }, 'window_size'],
  ])('of %s are refused where they would fill memory', (name, other, key) => {
    expect(build(name, other)).toThrow(
      new RegExp(
        `"${key}" makes \\d+ pairs of patches that attend to each other; at most 16777216 are supported`,
      ),
    );
  });

  it('do not matter where a model has no bias for them', () => {
    const plain = { use_relative_position_bias: false, use_shared_relative_position_bias: false };
    expect(build('beit', { image_size: 65_536, patch_size: 8, ...plain })).not.toThrow();
  });
});

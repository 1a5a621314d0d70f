import { describe, expect, it } from 'vitest';
import { TINY } from '../../../test/tiny.js';
import { ModelConfig } from '../config.js';
import { buildModel } from '../registry.js';

describe('a model of pictures', () => {
  const build = (name: string, other: object) => () =>
    buildModel(new ModelConfig({ ...TINY[name], ...other }, 'config.json'));

  it.each([
    ['beit', { image_size: 65_536, patch_size: 1, use_relative_position_bias: true }, 'image_size'],
    ['swin', { window_size: 80 }, 'window_size'],
    ['swin', { image_size: 65_536, patch_size: 4, window_size: 8 }, 'window_size'],
  ])('of %s is refused where pairs of patches would fill memory', (name, other, key) => {
    expect(build(name, other)).toThrow(
      new RegExp(
        `"${key}" makes \\d+ pairs of patches that attend to each other; at most 16777216 are supported`,
      ),
    );
  });

  it.each([1e300, 1e-9])('is refused with hidden layers %d times as wide', (mlp_ratio) => {
    expect(build('swin', { mlp_ratio })).toThrow(
      /"mlp_ratio" makes hidden layers of .* to 16777216 are supported/,
    );
  });

  it('may have as many pairs as it likes where it has no bias for them', () => {
    const plain = { use_relative_position_bias: false, use_shared_relative_position_bias: false };
    expect(build('beit', { image_size: 65_536, patch_size: 8, ...plain })).not.toThrow();
  });
});

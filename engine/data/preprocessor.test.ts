import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parsePreprocessor, readPreprocessor } from './preprocessor.js';
import { temporaryFolder } from './testing.js';

const parse = (config: object, imageSize = 224, channels = 3) =>
  parsePreprocessor(config, { channels, imageSize }, 'p.json');
const square = (edge: number) => ({ height: edge, width: edge });

test('fills in the defaults of ViTImageProcessor at the size of the model', () => {
  expect(parse({}, 384)).toEqual({
    channels: 3,
    resize: square(384),
    resample: 'bilinear',
    rescaleFactor: 1 / 255,
    normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
    output: square(384),
  });
});

test('reads facebook/deit-base-patch16-224', () => {
  const config = {
    crop_size: 224,
    do_center_crop: true,
    do_normalize: true,
    do_resize: true,
    feature_extractor_type: 'DeiTFeatureExtractor',
    image_mean: [0.485, 0.456, 0.406],
    image_std: [0.229, 0.224, 0.225],
    resample: 3,
    size: 256,
  };
  expect(parse(config)).toMatchObject({ resize: square(256), centerCrop: square(224), resample: 'bicubic' });
  expect(parse({ feature_extractor_type: 'DeiTFeatureExtractor' })).toEqual(parse(config));
});

test('takes every form of size', () => {
  const of = (type: string, size: unknown, rest = {}) =>
    parse({ image_processor_type: type, size, ...rest }).resize;
  expect(of('ViTImageProcessor', 224)).toEqual(square(224));
  expect(of('ViTImageProcessorFast', [224, 224])).toEqual(square(224));
  expect(of('ViTFeatureExtractor', { height: 224, width: 224 })).toEqual(square(224));
  expect(of('DeiTImageProcessor', 240)).toEqual(square(240));
  expect(of('CLIPImageProcessor', 240)).toEqual({ shortestEdge: 240 });
  expect(of('BitImageProcessor', { shortest_edge: 256 })).toEqual({ shortestEdge: 256 });
});

test('leaves out the steps that are switched off', () => {
  const config = { do_resize: false, do_rescale: false, do_normalize: false };
  expect(parse(config)).toEqual({ channels: 3, resample: 'bilinear', output: square(224) });
});

test('gives a single mean or std to every channel', () => {
  expect(parse({ image_mean: [0.1], image_std: 0.2 }).normalize).toEqual({
    mean: [0.1, 0.1, 0.1],
    std: [0.2, 0.2, 0.2],
  });
  expect(parse({}, 28, 1).normalize).toEqual({ mean: [0.5], std: [0.5] });
});

test.each([
  [{ size: 256 }, 'end as 256×256 (height × width), but the model takes 224×224'],
  [{ do_center_crop: true, crop_size: { height: 224, width: 192 } }, 'end as 224×192'],
  [{ size: { shortest_edge: 224 } }, 'shortest edge only'],
  [{ size: { longest_edge: 224 } }, '"size" must be an integer'],
  [{ size: { height: 224 } }, '"size" must be an integer'],
  [{ size: 0 }, '"size"'],
  [{ size: 1e9 }, '"size"'],
  [{ size: { height: 224, width: 22.5 } }, '"width"'],
  [{ size: '224' }, '"size"'],
  [{ resample: 6 }, '"resample" 6 is not supported; supported are 0 (nearest), 1 (lanczos)'],
  [{ resample: 1.5 }, '"resample" 1.5'],
  [{ image_processor_type: 'SamImageProcessor' }, '"SamImageProcessor" is not supported; supported are ViT'],
  [{ image_mean: [0.5, 0.5] }, '"image_mean" holds 2 numbers, but the model takes 3 channels'],
  [{ image_mean: [0.5, '0.5', 0.5] }, '"image_mean"'],
  [{ image_std: [0.5, 0, 0.5] }, '"image_std" must hold numbers above 0'],
  [{ do_resize: 'no' }, '"do_resize" must be true or false'],
  [{ do_pad: true }, '"do_pad" is not supported'],
])('refuses %j', (config, message) => {
  expect(() => parse(config)).toThrow(expect.objectContaining({ name: 'UserError' }));
  expect(() => parse(config)).toThrow('p.json: ');
  expect(() => parse(config)).toThrow(message);
});

test('refuses a model of other channels than pictures have', () => {
  expect(() => parse({}, 224, 4)).toThrow('p.json: the model takes 4 channels');
});

test('reads the file of a model folder, or does without', async () => {
  const folder = await temporaryFolder();
  const model = { channels: 1, imageSize: 28 };
  expect(await readPreprocessor(folder, model)).toEqual(parse({}, 28, 1));
  await mkdir(join(folder, 'm'));
  await writeFile(join(folder, 'm', 'preprocessor_config.json'), '{"resample": 3, "size": 32}');
  await expect(readPreprocessor(join(folder, 'm'), model)).rejects.toThrow('32×32');
});

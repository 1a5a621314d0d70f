import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parsePreprocessor, readPreprocessor } from './preprocessor.js';
import { temporaryFolder } from './testing.js';

const parse = (config: object, imageSize = 224, channels = 3, family = 'vit') =>
  parsePreprocessor(config, { channels, imageSize, family }, 'p.json');
const square = (edge: number) => ({ height: edge, width: edge });

test('fills in the defaults of the processor of the file, or else of the model', () => {
  const ofVit = {
    channels: 3,
    onWhite: false,
    resize: square(224),
    resample: 'bilinear',
    rescaleFactor: 1 / 255,
    normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
    pad: false,
    output: square(224),
  };
  const ofDeit = { ...ofVit, resize: square(256), resample: 'bicubic', centerCrop: square(224) };
  expect(parse({})).toEqual(ofVit);
  expect(parse({}, 224, 3, 'deit')).toEqual(ofDeit);
  expect(parse({ image_processor_type: 'ViTImageProcessor' }, 224, 3, 'deit')).toEqual(ofVit);
  expect(parse({ feature_extractor_type: 'DeiTFeatureExtractor' })).toEqual(ofDeit);
  expect(parse({ image_processor_type: 'CLIPImageProcessor' }).onWhite).toBe(true);
});

test.each([384, 28])('takes a size that is left out as 224, which does not fit a model of %d', (size) => {
  expect(() => parse({}, size)).toThrow(
    `pictures end as 224×224 ("size" is not there), height × width, but the model takes ${size}×${size}`,
  );
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
  const bare = { channels: 3, onWhite: false, resample: 'bilinear', pad: false, output: square(224) };
  expect(parse(config)).toEqual(bare);
  expect(parse({ do_resize: null, do_rescale: null, do_normalize: null })).toEqual(bare);
  const deit = { image_processor_type: 'DeiTImageProcessor', size: 224, do_center_crop: null };
  expect(parse(deit).centerCrop).toBeUndefined();
});

test('keeps the aspect ratio within limits, and pads what is missing', () => {
  const pad = { do_pad: true, pad_size: 224 };
  expect(parse({ size: { shortest_edge: 200, longest_edge: 224 }, ...pad })).toMatchObject({
    resize: { shortestEdge: 200, longestEdge: 224 },
    pad: true,
  });
  expect(parse({ size: { max_height: 224, max_width: 224 }, ...pad }).resize).toEqual({
    maxHeight: 224,
    maxWidth: 224,
  });
  expect(parse({ do_pad: true }).pad).toBe(false);
});

test('never pads by BEiT’s processor, which passes do_pad over', () => {
  const beit = { image_processor_type: 'BeitImageProcessorFast', do_center_crop: false };
  const pad = { do_pad: true, pad_size: 224 };
  expect(parse({ ...beit, ...pad, size: 224 }).pad).toBe(false);
  expect(() => parse({ ...beit, ...pad, size: { shortest_edge: 200, longest_edge: 224 } })).toThrow(
    '"size" leaves one edge to the picture and nothing is cropped or padded after it',
  );
});

test('gives a single mean or std to every channel', () => {
  expect(parse({ image_mean: [0.1], image_std: 0.2 }).normalize).toEqual({
    mean: [0.1, 0.1, 0.1],
    std: [0.2, 0.2, 0.2],
  });
  expect(parse({ size: 28 }, 28, 1).normalize).toEqual({ mean: [0.5], std: [0.5] });
});

test.each([
  [{ size: 256 }, 'end as 256×256, height × width, but the model takes 224×224'],
  [{ do_center_crop: true, crop_size: { height: 224, width: 192 } }, 'end as 224×192'],
  [{ size: { shortest_edge: 224 } }, 'leaves one edge to the picture'],
  [{ size: null }, '"size" is null, but "do_resize" needs it'],
  [{ rescale_factor: null }, '"rescale_factor" is null, but "do_rescale" needs it'],
  [{ image_std: null }, '"image_std" is null, but "do_normalize" needs it'],
  [{ size: 224, default_to_square: false }, 'in different ways'],
  [{ do_center_crop: true }, '"crop_size" must be a height and a width, found null'],
  [{ do_pad: true, pad_size: 200 }, 'end as 200×200'],
  [{ do_center_crop: true, crop_size: 256, do_pad: true, pad_size: 224 }, 'smaller than the 256×256'],
  [{ image_processor_type: 'BeitImageProcessor', size: 224 }, 'differs between versions of transformers'],
  [
    { size: { height: 8192, width: 4096 }, do_center_crop: true, crop_size: 224 },
    'above the 16777216 pixels',
  ],
  [{ image_std: [1e-46, 1, 1] }, 'not finite float32 numbers'],
  [{ rescale_factor: 1e308 }, 'not finite float32 numbers'],
  [{ image_mean: 1e300 }, 'not finite float32 numbers'],
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
  [{ do_flip_channel_order: true }, '"do_flip_channel_order" is not supported'],
])('refuses %j', (config, message) => {
  expect(() => parse(config)).toThrow(expect.objectContaining({ name: 'UserError' }));
  expect(() => parse(config)).toThrow('p.json: ');
  expect(() => parse(config)).toThrow(message);
});

test('refuses a model of other channels than pictures have', () => {
  expect(() => parse({}, 224, 4)).toThrow('p.json: the model takes 4 channels');
  expect(() => parse({ do_convert_rgb: true }, 224, 1)).toThrow('makes three channels');
});

test('reads the file of a model folder, the nested one first, and does not do without', async () => {
  const folder = await temporaryFolder();
  const model = { channels: 1, imageSize: 28, family: 'vit' };
  await expect(readPreprocessor(folder, model)).rejects.toThrow('has no preprocessor_config.json');
  await writeFile(join(folder, 'preprocessor_config.json'), '{"resample": 3, "size": 32}');
  await expect(readPreprocessor(folder, model)).rejects.toThrow('32×32');
  await writeFile(join(folder, 'processor_config.json'), '{"image_processor": {"size": 28}}');
  expect(await readPreprocessor(folder, model)).toEqual(parse({ size: 28 }, 28, 1));
});

test('reads a file as Python does: NaN, and the later of two equal keys', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'preprocessor_config.json'), '{"size": 32, "size": 28, "max_ratio": NaN}');
  const found = await readPreprocessor(folder, { channels: 1, imageSize: 28, family: 'vit' });
  expect(found).toEqual(parse({ size: 28 }, 28, 1));
});

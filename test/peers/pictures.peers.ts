/** Preprocessor files and pictures, beside transformers and Pillow. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeImage } from '../../engine/data/decode.js';
import { readPreprocessor } from '../../engine/data/preprocessor.js';
import { UserError } from '../../engine/errors.js';
import { ModelConfig } from '../../engine/models/config.js';
import type { VisionModel } from '../../engine/models/model.js';
import { buildModel } from '../../engine/models/registry.js';
import { expectClose, floats, peerSuite, type Case, type Draw } from './suite.js';

type Json = Readonly<Record<string, unknown>>;

interface PictureCase extends Case {
  readonly config: Json;
  /** The name and the content of the preprocessor file. */
  readonly file: string;
  readonly preprocessor: Json;
  readonly picture: string;
  /** Height and width. */
  readonly size: readonly [number, number];
  readonly noise: number;
  readonly encoding: Json;
}

type Answer =
  | { readonly error: string }
  | { readonly error?: undefined; readonly shape: readonly number[]; readonly pixels: string };

peerSuite<PictureCase, Answer>({
  name: 'pictures',
  python: 'pictures.py',
  cases: 700,
  mostRefused: 0.15,
  make: (draw, seed) => {
    const family = draw.pick(['vit', 'deit']);
    const channels = draw.chance(0.2) ? 1 : 3;
    const edge = draw.chance(0.15) ? 224 : draw.whole(8, 48);
    const side = () => (draw.chance(0.1) ? draw.whole(1, 5) : draw.whole(5, draw.chance(0.2) ? 400 : 120));
    const picture = pictureOf(draw);
    return {
      seed,
      config: {
        model_type: family,
        architectures: [family === 'vit' ? 'ViTForImageClassification' : 'DeiTForImageClassification'],
        image_size: edge,
        patch_size: edge,
        num_channels: channels,
        hidden_size: 8,
        num_attention_heads: 2,
        num_hidden_layers: 1,
        intermediate_size: 8,
      },
      ...fileOf(draw, preprocessorOf(draw, family, edge, channels)),
      picture,
      size: [side(), side()],
      noise: draw.pick([0, 5, 60]),
      encoding: encodingOf(draw, picture),
    };
  },
  check: async (given, answer, folder) => {
    const config = new ModelConfig(given.config, 'config.json');
    const { image, family } = buildModel(config, {}) as VisionModel;
    const name = (await readdir(folder)).find((file) => file.startsWith('picture'))!;
    const pixels = await readPreprocessor(folder, { channels: image.channels, imageSize: image, family })
      .then(async (preprocessor) => decodeImage(await readFile(join(folder, name)), preprocessor))
      .catch((error: unknown) => {
        if (error instanceof UserError && (answer.error !== undefined || !fits(answer.shape, image))) return;
        throw error;
      });
    if (pixels === undefined) return;
    if (answer.error !== undefined) {
      if (isOneForAll(answer.error)) return;
      throw new Error(`read, where the reference says ${answer.error}`);
    }
    if (!fits(answer.shape, image))
      throw new Error(`read, where the reference yields ${answer.shape.join('×')}`);
    expectClose(pixels, floats(answer.pixels), 1e-4, 'pixels');
  },
});

/** What the reference refuses and the engine reads: one mean or deviation that stands for all channels. */
function isOneForAll(error: string): boolean {
  return /must have \d elements if it is an iterable, got [13]$/.test(error);
}

function fits([channels, height, width]: readonly number[], image: VisionModel['image']): boolean {
  return channels === image.channels && height === image.height && width === image.width;
}

function pictureOf({ pick, chance }: Draw): string {
  if (chance(0.5)) return 'rgb';
  return pick([
    'grey',
    'grey-alpha',
    'rgba',
    'rgba',
    'palette',
    'palette',
    'bilevel',
    'cmyk',
    'rgb-16',
    'grey-16',
  ]);
}

function encodingOf({ pick, chance, whole }: Draw, picture: string): Json {
  const formats: Readonly<Record<string, readonly string[]>> = {
    rgb: ['PNG', 'JPEG', 'WebP'],
    grey: ['PNG', 'JPEG'],
    rgba: ['PNG', 'WebP'],
    cmyk: ['JPEG'],
  };
  const format = pick(formats[picture] ?? ['PNG']);
  if (format === 'PNG') return { format, transparent: chance() };
  if (format === 'WebP') return { format, lossless: chance(), quality: whole(20, 100) };
  return {
    format,
    quality: whole(20, 100),
    ...(chance() && { progressive: true }),
    ...(picture !== 'grey' && picture !== 'cmyk' && { subsampling: pick([0, 1, 2]) }),
    ...(chance(0.3) && { orientation: whole(1, 8) }),
  };
}

/** The name and the content of a file: other processors may lie beside the one of pictures. */
function fileOf({ chance }: Draw, preprocessor: Json): Pick<PictureCase, 'file' | 'preprocessor'> {
  return chance(0.05)
    ? { file: 'processor_config.json', preprocessor: { image_processor: preprocessor } }
    : { file: 'preprocessor_config.json', preprocessor };
}

/** A file as 4.x or 5.x writes it, or by hand: keys left out, null, in older forms. */
function preprocessorOf(draw: Draw, family: string, edge: number, channels: number): Json {
  const { pick, chance, whole } = draw;
  const name = chance(0.85)
    ? family === 'vit'
      ? 'ViT'
      : 'DeiT'
    : pick(['ViT', 'DeiT', 'CLIP', 'Bit', 'Beit']);
  const suffix = pick(['ImageProcessor', 'ImageProcessorFast', 'ImageProcessorPil', 'FeatureExtractor']);
  const type =
    suffix === 'FeatureExtractor'
      ? { feature_extractor_type: name + suffix }
      : { image_processor_type: name + suffix };
  const crops = name !== 'ViT' ? chance(0.8) : chance(0.2);
  const pads = chance(0.1);
  const before = crops ? edge + whole(-3, 20) : edge;
  const values: Record<string, unknown> = {
    ...(chance(0.85) && type),
    do_resize: chance(0.9),
    size: sizeOf(draw, Math.max(1, before), crops || pads),
    resample: whole(0, 5),
    do_center_crop: crops,
    crop_size: pick([edge, [edge, edge], { height: edge, width: edge }]),
    do_rescale: chance(0.85),
    rescale_factor: pick([1 / 255, 1 / 255, 1 / 127.5, 1]),
    do_normalize: chance(0.85),
    image_mean: chance(0.2) ? pick([0.5, [0.5]]) : Array.from({ length: channels }, () => draw.next()),
    image_std: chance(0.2) ? pick([0.5, [0.5]]) : Array.from({ length: channels }, () => 0.1 + draw.next()),
    ...(chance(0.5) && { do_convert_rgb: chance(0.7) }),
    ...(pads && { do_pad: true, pad_size: { height: edge, width: edge } }),
    ...(chance(0.1) && { default_to_square: chance() }),
    ...(chance(0.2) && {
      data_format: 'channels_first',
      input_data_format: null,
      _valid_processor_keys: ['images'],
    }),
  };
  if (!crops && chance()) delete values.crop_size;
  for (const key of Object.keys(values)) {
    if (key === 'size' && edge !== 224 && !chance(0.05)) continue;
    if (chance(0.06)) delete values[key];
    else if (key.startsWith('do_') ? chance(0.06) : chance(0.01)) values[key] = null;
  }
  return values;
}

function sizeOf({ pick, chance, whole }: Draw, edge: number, isFree: boolean): unknown {
  if (isFree && chance(0.4))
    return pick([
      { shortest_edge: edge },
      { shortest_edge: edge, longest_edge: edge + whole(0, 30) },
      { max_height: edge, max_width: edge },
      { longest_edge: edge },
    ]);
  return pick([edge, [edge, edge], { height: edge, width: edge }, { height: edge, width: edge }]);
}

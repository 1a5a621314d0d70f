import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import {
  expectBoolean,
  expectNumber,
  expectNumberArray,
  expectObject,
  expectString,
  readJsonFile,
} from '../formats/json.js';
import type { JsonObject } from '../formats/json.js';
import { show } from '../formats/paths.js';
import { byteValues } from './byte-values.js';
import { readSize, requireSmall, type Resize, type Size } from './picture-size.js';
import { RESAMPLES } from './resize.js';
import type { Resample } from './resize.js';

/**
 * How a picture becomes the input of a model: the steps in the order of the fields; an absent one is left out. What a
 * file means is what the image processors of transformers 5.24 make of it on Pillow 13, without torchvision
 * (docs/EVALUATION.md).
 */
export interface Preprocessor {
  /** 1: grey by ITU-R 601 luma, as Pillow's `convert("L")`. 3: RGB, a grey picture repeated. */
  readonly channels: 1 | 3;
  /** Whether transparent pixels are laid on white; else alpha is dropped, and the colour below it counts. */
  readonly onWhite: boolean;
  readonly resize?: Resize;
  readonly resample: Resample;
  /** Cut from the middle; where the picture is smaller, bytes of 0 surround it. */
  readonly centerCrop?: Size;
  /** Multiplied with the bytes, 0 to 255. */
  readonly rescaleFactor?: number;
  /** `(value - mean) / std`, one of each per channel. */
  readonly normalize?: { readonly mean: readonly number[]; readonly std: readonly number[] };
  /** Whether zeros fill up what is missing of the output on the right and below. */
  readonly pad: boolean;
  /** What comes out, always: the model's image size. */
  readonly output: Size;
}

/** What a model takes, by its config.json. */
export interface ModelInput {
  readonly channels: number;
  readonly imageSize: number | Size;
  /** Its `model_type`, whose image processor a file without a type means. */
  readonly family: string;
}

/**
 * The preprocessor of the model in `folder`, by the `image_processor` of its `processor_config.json` where there is one,
 * else by its `preprocessor_config.json`. `UserError` without either: nothing else says how pictures are prepared.
 */
export async function readPreprocessor(folder: string, model: ModelInput): Promise<Preprocessor> {
  const nested = await readJson(folder, 'processor_config.json');
  if (nested) {
    const { image_processor: own } = expectObject(nested, 'processor_config.json');
    if (own !== undefined) return parsePreprocessor(own, model, 'processor_config.json: "image_processor"');
  }
  const name = 'preprocessor_config.json';
  const file = await readJson(folder, name);
  if (file) return parsePreprocessor(file, model, name);
  throw new UserError(
    `${folder} has no ${name}, which says how pictures are prepared; copy it from the model that this one was made of.`,
  );
}

async function readJson(folder: string, name: string) {
  const path = join(folder, name);
  return existsSync(path) ? readJsonFile(path, { maxBytes: 1 << 20, python: true }) : undefined;
}

/**
 * Parses the content of a `preprocessor_config.json` by the rules of the Hugging Face class that it names: a key that is
 * missing has the class's default, a switch that is null is off. `UserError`, which starts with `where`, for a class, a
 * filter or an option that is not supported, for null where a step needs a value, and where the outcome would not have
 * the model's image size or would not be finite.
 */
export function parsePreprocessor(json: unknown, model: ModelInput, where: string): Preprocessor {
  const config = expectObject(json, where);
  const { channels } = model;
  if (channels !== 1 && channels !== 3)
    throw new UserError(`${where}: the model takes ${channels} channels; pictures have 1 (grey) or 3 (RGB).`);
  const processor = processorOf(config, model.family, where);
  refuseUnsupported(config, channels, where);
  const output =
    typeof model.imageSize === 'number'
      ? { height: model.imageSize, width: model.imageSize }
      : model.imageSize;
  const isOn = (key: string, byDefault: boolean) =>
    config[key] !== null && expectBoolean(config, key, where, { default: byDefault });

  const doesResize = isOn('do_resize', true);
  const doesCrop = isOn('do_center_crop', processor.crops);
  const doesRescale = isOn('do_rescale', true);
  const doesNormalize = isOn('do_normalize', true);
  if (processor.isUnsettled && (!('do_center_crop' in config) || (doesResize && !('size' in config))))
    throw new UserError(
      `${where}: "size" and "do_center_crop" must be there: what they mean by default differs between versions of transformers.`,
    );
  if (doesResize) requireValues(config, ['size', 'resample'], 'do_resize', where);
  if (doesRescale) requireValues(config, ['rescale_factor'], 'do_rescale', where);
  if (doesNormalize) requireValues(config, ['image_mean', 'image_std'], 'do_normalize', where);

  const resize = doesResize ? resizeOf(config, processor, where) : undefined;
  const centerCrop = doesCrop ? fixedSize(config, 'crop_size', processor.cropSize, where) : undefined;
  const padSize =
    processor.pads && isOn('do_pad', false) && config.pad_size !== undefined && config.pad_size !== null
      ? fixedSize(config, 'pad_size', undefined, where)
      : undefined;
  requireOutput({ resize, centerCrop, padSize, output }, 'size' in config || !doesResize, where);

  const rescaleFactor = expectNumber(config, 'rescale_factor', where, { default: 1 / 255 });
  const mean = perChannel(config, 'image_mean', processor.mean, channels, where);
  const std = perChannel(config, 'image_std', processor.std, channels, where);
  if (doesNormalize && !std.every((value) => value > 0))
    throw new UserError(`${where}: "image_std" must hold numbers above 0, found ${show(std)}.`);
  const steps: Pick<Preprocessor, 'channels' | 'rescaleFactor' | 'normalize'> = {
    channels,
    ...(doesRescale && { rescaleFactor }),
    ...(doesNormalize && { normalize: { mean, std } }),
  };
  if (!byteValues(steps).every((values) => values.every(Number.isFinite)))
    throw new UserError(
      `${where}: "rescale_factor", "image_mean" and "image_std" make pixels that are not finite float32 numbers.`,
    );
  const onWhite = isOn('do_convert_rgb', processor.onWhite);
  if (onWhite && channels === 1)
    throw new UserError(`${where}: "do_convert_rgb" makes three channels, but the model takes one.`);
  return {
    ...steps,
    onWhite,
    ...(resize && { resize }),
    resample: resampleAt(config, processor, where),
    ...(centerCrop && { centerCrop }),
    pad: padSize !== undefined,
    output,
  };
}

/** What the image processors of one model type do where their file is silent. */
interface Processor {
  /** Whether an integer `size` stands for both edges, not for the shorter one. */
  readonly square: boolean;
  readonly resize: Resize;
  readonly crops: boolean;
  readonly cropSize?: Size;
  readonly resample: Resample;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly onWhite: boolean;
  /** Whether it heeds `do_pad`. */
  readonly pads: boolean;
  /** Whether versions of transformers resize and crop differently by default. */
  readonly isUnsettled?: boolean;
}

const square = (edge: number): Size => ({ height: edge, width: edge });

const vit: Processor = {
  square: true,
  resize: square(224),
  crops: false,
  resample: 'bilinear',
  mean: [0.5],
  std: [0.5],
  onWhite: false,
  pads: true,
};
const deit: Processor = {
  ...vit,
  resize: square(256),
  crops: true,
  cropSize: square(224),
  resample: 'bicubic',
};
const beit: Processor = { ...deit, pads: false, isUnsettled: true };
const clip: Processor = {
  ...deit,
  square: false,
  resize: { shortestEdge: 224 },
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  onWhite: true,
};
const PROCESSORS: ReadonlyMap<string, Processor> = new Map([
  ['ViT', vit],
  ['DeiT', deit],
  ['Beit', beit],
  ['Bit', clip],
  ['CLIP', clip],
]);

/** By the file's type, or else the model's. */
function processorOf(config: JsonObject, family: string, where: string): Processor {
  const key = ['image_processor_type', 'feature_extractor_type'].find(
    (name) => config[name] !== undefined && config[name] !== null,
  );
  if (key === undefined) return ({ deit, beit } as Record<string, Processor>)[family] ?? vit;
  const type = expectString(config, key, where);
  const name = /^(\w+?)(?:ImageProcessor(?:Fast|Pil)?|FeatureExtractor)$/.exec(type)?.[1] ?? '';
  const processor = PROCESSORS.get(name);
  if (!processor)
    throw new UserError(
      `${where}: "${key}" ${show(type)} is not supported; supported are ${[...PROCESSORS.keys()].map((known) => `${known}ImageProcessor`).join(', ')}.`,
    );
  return processor;
}

/** Switches of other processors that change pixels: set, they must not be passed over in silence. */
function refuseUnsupported(config: JsonObject, channels: number, where: string): void {
  const switches = [
    'do_thumbnail',
    'do_align_long_axis',
    'do_flip_channel_order',
    'rescale_offset',
    'use_square_size',
  ];
  if (channels === 3) switches.push('do_grayscale');
  const found = switches.find((key) => config[key] === true);
  if (found !== undefined) throw new UserError(`${where}: "${found}" is not supported.`);
}

function requireValues(config: JsonObject, keys: readonly string[], step: string, where: string): void {
  const missing = keys.find((key) => config[key] === null);
  if (missing !== undefined)
    throw new UserError(`${where}: "${missing}" is null, but "${step}" needs it; take one of the two out.`);
}

function resizeOf(config: JsonObject, { square: isSquare, resize }: Processor, where: string): Resize {
  if (config.size === undefined) return resize;
  const asked = expectBoolean(config, 'default_to_square', where, { default: isSquare });
  if (typeof config.size === 'number' && asked !== isSquare)
    throw new UserError(
      `${where}: versions of transformers read a "size" of one number with "default_to_square" ${asked} in different ways; write {"height", "width"} or {"shortest_edge"}.`,
    );
  return readSize(config, 'size', where, isSquare);
}

/** A height and a width; `UserError` for a size of another form, and where there is none. */
function fixedSize(config: JsonObject, key: string, byDefault: Size | undefined, where: string): Size {
  const size = config[key] === undefined ? byDefault : readSize(config, key, where, true);
  if (size && 'height' in size) return size;
  throw new UserError(`${where}: "${key}" must be a height and a width, found ${show(config[key] ?? null)}.`);
}

/** Throws UserError where pictures do not end as large as the model takes them. */
function requireOutput(
  {
    resize,
    centerCrop,
    padSize,
    output,
  }: {
    readonly resize: Resize | undefined;
    readonly centerCrop: Size | undefined;
    readonly padSize: Size | undefined;
    readonly output: Size;
  },
  isSaid: boolean,
  where: string,
): void {
  const end = padSize ?? centerCrop ?? resize;
  if (resize && 'height' in resize) requireSmall(resize, `${where}: "size"`);
  if (end === undefined) return;
  if (!('height' in end))
    throw new UserError(
      `${where}: "size" leaves one edge to the picture and nothing is cropped or padded after it.`,
    );
  const byDefault = isSaid ? '' : ' ("size" is not there)';
  if (end.height !== output.height || end.width !== output.width)
    throw new UserError(
      `${where}: pictures end as ${describe(end)}${byDefault}, height × width, but the model takes ${describe(output)}.`,
    );
  const before = padSize && (centerCrop ?? resize);
  if (before && 'height' in before && (before.height > end.height || before.width > end.width))
    throw new UserError(
      `${where}: "pad_size" ${describe(end)} is smaller than the ${describe(before)} before it.`,
    );
}

/** `size` as messages show it: height × width, in pixels. */
export const describe = (size: Size): string => `${size.height}×${size.width}`;

function resampleAt(config: JsonObject, processor: Processor, where: string): Resample {
  const number = expectNumber(config, 'resample', where, {
    default: RESAMPLES.indexOf(processor.resample),
  });
  const resample = RESAMPLES[number];
  if (!resample)
    throw new UserError(
      `${where}: "resample" ${number} is not supported; supported are ${RESAMPLES.map((name, i) => `${i} (${name})`).join(', ')}.`,
    );
  return resample;
}

/** `channels` numbers under `key`, one of each channel; a single one stands for all. */
function perChannel(
  config: JsonObject,
  key: string,
  byDefault: readonly number[],
  channels: number,
  where: string,
): readonly number[] {
  const values =
    typeof config[key] === 'number'
      ? [expectNumber(config, key, where)]
      : expectNumberArray(config, key, where, { default: byDefault });
  if (values.length === channels) return values;
  if (values.length === 1) return new Array<number>(channels).fill(values[0]!);
  throw new UserError(
    `${where}: "${key}" holds ${values.length} numbers, but the model takes ${channels} channels.`,
  );
}

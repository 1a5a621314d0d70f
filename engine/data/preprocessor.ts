import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import {
  expectBoolean,
  expectInteger,
  expectNumber,
  expectNumberArray,
  expectObject,
  expectString,
  readJsonFile,
} from '../formats/json.js';
import type { JsonObject } from '../formats/json.js';
import { show } from '../formats/paths.js';
import { RESAMPLES } from './resize.js';
import type { Resample } from './resize.js';

/** Pixels. */
export interface Size {
  readonly height: number;
  readonly width: number;
}

/** How a picture becomes the input of a model: the steps in the order of the fields; an absent one is left out. */
export interface Preprocessor {
  /** 1: grey by ITU-R 601 luma, as Pillow's `convert("L")`. 3: RGB, a grey picture repeated. */
  readonly channels: 1 | 3;
  /** Both edges, or the shorter one with the aspect ratio kept. */
  readonly resize?: Size | { readonly shortestEdge: number };
  readonly resample: Resample;
  /** Cut from the middle; where the picture is smaller, bytes of 0 surround it. */
  readonly centerCrop?: Size;
  /** Multiplied with the bytes, 0 to 255. */
  readonly rescaleFactor?: number;
  /** `(value - mean) / std`, one of each per channel. */
  readonly normalize?: { readonly mean: readonly number[]; readonly std: readonly number[] };
  /** What comes out, always: the model's image size. */
  readonly output: Size;
}

/** What a model takes, by its config.json. */
export interface ModelInput {
  readonly channels: number;
  readonly imageSize: number | Size;
}

/**
 * The preprocessor of the model in `folder`, by its `preprocessor_config.json`; without that file, by the
 * defaults of `ViTImageProcessor` at the model's own image size.
 */
export async function readPreprocessor(folder: string, model: ModelInput): Promise<Preprocessor> {
  const name = 'preprocessor_config.json';
  const path = join(folder, name);
  return existsSync(path)
    ? parsePreprocessor(await readJsonFile(path, { maxBytes: 1 << 20 }), model, name)
    : parsePreprocessor({}, model, 'the default preprocessor');
}

/**
 * Parses the content of a `preprocessor_config.json` by the rules of the Hugging Face class that it names.
 * `UserError`, which starts with `where`, for a class, a filter or an option that is not supported, and where
 * the outcome would not have the model's image size.
 */
export function parsePreprocessor(json: unknown, model: ModelInput, where: string): Preprocessor {
  const config = expectObject(json, where);
  const { channels } = model;
  if (channels !== 1 && channels !== 3)
    throw new UserError(`${where}: the model takes ${channels} channels; pictures have 1 (grey) or 3 (RGB).`);
  const family = familyOf(config, where);
  refuseUnsupported(config, channels, where);

  const output =
    typeof model.imageSize === 'number'
      ? { height: model.imageSize, width: model.imageSize }
      : model.imageSize;
  const doCrop = expectBoolean(config, 'do_center_crop', where, { default: family.crop });
  const doResize = expectBoolean(config, 'do_resize', where, { default: true });
  const crop = doCrop ? (sizeAt(config, 'crop_size', where, true) ?? output) : undefined;
  const resize = doResize
    ? (sizeAt(config, 'size', where, family.square) ?? (crop ? family.resize : output))
    : undefined;
  const end = crop ?? resize;
  if (end && 'shortestEdge' in end)
    throw new UserError(`${where}: "size" gives the shortest edge only and nothing is cropped after it.`);
  if (end && (end.height !== output.height || end.width !== output.width))
    throw new UserError(
      `${where}: pictures end as ${describe(end)} (height × width), but the model takes ${describe(output)}.`,
    );

  const rescaleFactor = expectNumber(config, 'rescale_factor', where, { default: 1 / 255 });
  const normalize = {
    mean: perChannel(config, 'image_mean', family.mean, channels, where),
    std: perChannel(config, 'image_std', family.std, channels, where),
  };
  if (!normalize.std.every((value) => value > 0))
    throw new UserError(`${where}: "image_std" must hold numbers above 0, found ${show(normalize.std)}.`);
  return {
    channels,
    ...(resize && { resize }),
    resample: resampleAt(config, family, where),
    ...(crop && !('shortestEdge' in crop) && { centerCrop: crop }),
    ...(expectBoolean(config, 'do_rescale', where, { default: true }) && { rescaleFactor }),
    ...(expectBoolean(config, 'do_normalize', where, { default: true }) && { normalize }),
    output,
  };
}

/** `size` as messages show it: height × width, in pixels. */
export const describe = (size: Size): string => `${size.height}×${size.width}`;

/** What the processors of one model type do where their file is silent. */
interface Family {
  /** An integer `size` stands for both edges, not for the shorter one. */
  readonly square: boolean;
  /** Whether to crop, and what to resize to before. */
  readonly crop: boolean;
  readonly resize: Size | { readonly shortestEdge: number };
  readonly resample: Resample;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

const vit: Family = {
  square: true,
  crop: false,
  resize: { height: 256, width: 256 },
  resample: 'bilinear',
  mean: [0.5],
  std: [0.5],
};
const deit: Family = { ...vit, crop: true, resample: 'bicubic' };
const clip: Family = {
  ...deit,
  square: false,
  resize: { shortestEdge: 224 },
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};
const FAMILIES: ReadonlyMap<string, Family> = new Map([
  ['ViT', vit],
  ['DeiT', deit],
  ['Beit', deit],
  ['Bit', clip],
  ['CLIP', clip],
]);

function familyOf(config: JsonObject, where: string): Family {
  const key = ['image_processor_type', 'feature_extractor_type'].find(
    (name) => typeof config[name] === 'string',
  );
  if (key === undefined) return vit;
  const type = expectString(config, key, where);
  const name = /^(\w+?)(?:ImageProcessor(?:Fast|Pil)?|FeatureExtractor)$/.exec(type)?.[1] ?? '';
  const family = FAMILIES.get(name);
  if (!family)
    throw new UserError(
      `${where}: "${key}" ${show(type)} is not supported; supported are ${[...FAMILIES.keys()].map((known) => `${known}ImageProcessor`).join(', ')}.`,
    );
  return type === 'DeiTFeatureExtractor'
    ? { ...family, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    : family;
}

/** Switches of other processors that change pixels: set, they must not be passed over in silence. */
function refuseUnsupported(config: JsonObject, channels: number, where: string): void {
  const switches = [
    'do_pad',
    'do_thumbnail',
    'do_align_long_axis',
    'do_flip_channel_order',
    'rescale_offset',
  ];
  if (channels === 3) switches.push('do_grayscale');
  const found = switches.find((key) => config[key] === true);
  if (found !== undefined) throw new UserError(`${where}: "${found}" is not supported.`);
}

/** A size in any of the forms of Hugging Face: `224`, `[h, w]`, `{height, width}`, `{shortest_edge}`. */
function sizeAt(
  config: JsonObject,
  key: string,
  where: string,
  square: boolean,
): Size | { readonly shortestEdge: number } | undefined {
  const value = config[key];
  const range = { min: 1, max: 8192 };
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number') {
    const edge = expectInteger(config, key, where, range);
    return square ? { height: edge, width: edge } : { shortestEdge: edge };
  }
  if (Array.isArray(value)) {
    const [height, width] = expectNumberArray(config, key, where, { ...range, integer: true, length: 2 });
    return { height: height!, width: width! };
  }
  const inside = `${where}: "${key}"`;
  const size = expectObject(value, inside);
  const names = Object.keys(size).filter((name) => size[name] !== null);
  if (names.length === 1 && names[0] === 'shortest_edge' && key === 'size')
    return { shortestEdge: expectInteger(size, 'shortest_edge', inside, range) };
  if (names.length !== 2 || !names.includes('height') || !names.includes('width'))
    throw new UserError(
      `${inside} must be an integer, {"height", "width"} or {"shortest_edge"}, found ${show(value)}.`,
    );
  return {
    height: expectInteger(size, 'height', inside, range),
    width: expectInteger(size, 'width', inside, range),
  };
}

function resampleAt(config: JsonObject, family: Family, where: string): Resample {
  const number = expectNumber(config, 'resample', where, { default: RESAMPLES.indexOf(family.resample) });
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

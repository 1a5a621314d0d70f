import { UserError } from '../errors.js';
import { describe } from './preprocessor.js';
import type { Preprocessor, Size } from './preprocessor.js';
import { resizeImage } from './resize.js';
import type { RawImage } from './resize.js';

/** Pictures of more pixels are refused, decoded or resized: Pillow's own warning threshold. */
export const MAX_PIXELS = 89_478_485;

/**
 * Runs the steps of `preprocessor` on decoded bytes; returns float32 `[channels, height, width]` of its
 * output size. `UserError` where nothing brings the picture to that size. Arithmetic as in Hugging Face's
 * numpy code (float32 after each step), looked up by byte: a picture needs no multiplication.
 */
export function toPixels(image: RawImage, preprocessor: Preprocessor): Float32Array {
  const { output, centerCrop } = preprocessor;
  const resized = resizeStep(convertChannels(image, preprocessor.channels), preprocessor);
  if (!centerCrop && (resized.height !== output.height || resized.width !== output.width))
    throw new UserError(
      `the picture is ${describe(resized)}, the model takes ${describe(output)}, and its preprocessor does not resize.`,
    );
  return toFloats(cropStep(resized, output), tablesOf(preprocessor));
}

/** The image as `channels` (1 or 3) of its 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); alpha is dropped. */
export function convertChannels(image: RawImage, channels: 1 | 3): RawImage {
  if (image.channels === channels) return image;
  const { data: from, width, height, channels: stride } = image;
  const data = new Uint8Array(width * height * channels);
  const isGrey = stride < 3;
  for (let i = 0, at = 0, to = 0; i < width * height; i++, at += stride, to += channels) {
    const red = from[at]!;
    const green = isGrey ? red : from[at + 1]!;
    const blue = isGrey ? red : from[at + 2]!;
    if (channels === 1) data[to] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
    else {
      data[to] = red;
      data[to + 1] = green;
      data[to + 2] = blue;
    }
  }
  return { data, width, height, channels };
}

function resizeStep(image: RawImage, { resize, resample }: Preprocessor): RawImage {
  if (!resize) return image;
  const { height, width } = 'shortestEdge' in resize ? fitShortest(image, resize.shortestEdge) : resize;
  if (height * width > MAX_PIXELS)
    throw new UserError(`the picture is too long and narrow to resize: ${describe(image)}.`);
  return resizeImage(image, height, width, resample);
}

function fitShortest({ height, width }: Size, edge: number): Size {
  return width <= height
    ? { height: Math.trunc((edge * height) / width), width: edge }
    : { height: edge, width: Math.trunc((edge * width) / height) };
}

/** The middle of the image, zeros around it where it is smaller; the image itself where nothing changes. */
function cropStep(image: RawImage, { height, width }: Size): RawImage {
  if (image.height === height && image.width === width) return image;
  const { channels } = image;
  const top = Math.floor((image.height - height) / 2);
  const left = Math.floor((image.width - width) / 2);
  const data = new Uint8Array(height * width * channels);
  const firstX = Math.max(0, -left);
  const lastX = Math.min(width, image.width - left);
  for (let y = Math.max(0, -top); y < Math.min(height, image.height - top); y++) {
    const from = ((y + top) * image.width + left) * channels;
    const row = image.data.subarray(from + firstX * channels, from + lastX * channels);
    data.set(row, (y * width + firstX) * channels);
  }
  return { data, width, height, channels };
}

function toFloats(image: RawImage, tables: readonly Float32Array[]): Float32Array {
  const { data, channels } = image;
  const count = image.width * image.height;
  const pixels = new Float32Array(channels * count);
  tables.forEach((table, channel) => {
    for (let i = 0, at = channel, to = channel * count; i < count; i++, at += channels, to++)
      pixels[to] = table[data[at]!]!;
  });
  return pixels;
}

const tables = new WeakMap<Preprocessor, Float32Array[]>();

/** For each channel, the float32 value of each of the 256 bytes, rescaled and normalized. */
function tablesOf(preprocessor: Preprocessor): readonly Float32Array[] {
  const known = tables.get(preprocessor);
  if (known) return known;
  const { channels, rescaleFactor, normalize } = preprocessor;
  const made = Array.from({ length: channels }, (_, channel) =>
    Float32Array.from({ length: 256 }, (_, byte) => {
      const value = rescaleFactor === undefined ? byte : Math.fround(byte * rescaleFactor);
      if (!normalize) return value;
      const centered = Math.fround(value - Math.fround(normalize.mean[channel]!));
      return centered / Math.fround(normalize.std[channel]!);
    }),
  );
  tables.set(preprocessor, made);
  return made;
}

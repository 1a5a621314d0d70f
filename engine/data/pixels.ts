import { UserError } from '../errors.js';
import { byteValues } from './byte-values.js';
import { resizedSize } from './picture-size.js';
import { describe } from './preprocessor.js';
import type { Preprocessor } from './preprocessor.js';
import { resizeImage } from './resize.js';
import type { RawImage } from './resize.js';

/**
 * Runs the steps of `preprocessor` on decoded bytes; returns float32 `[channels, height, width]` of its
 * output size. `UserError` where nothing brings the picture to that size. Arithmetic as in Hugging Face's
 * numpy code (float32 after each step), looked up by byte: a picture needs no multiplication.
 * @param owned whether `image` may be written over
 */
export function toPixels(image: RawImage, preprocessor: Preprocessor, owned = false): Float32Array {
  const { output, centerCrop, pad } = preprocessor;
  const resized = resizeStep(opaque(image, preprocessor, owned), preprocessor);
  const cropped = centerCrop ? cropStep(resized, centerCrop) : resized;
  const fits = pad
    ? cropped.height <= output.height && cropped.width <= output.width
    : cropped.height === output.height && cropped.width === output.width;
  if (!fits)
    throw new UserError(
      `the picture is ${describe(cropped)}, the model takes ${describe(output)}, and its preprocessor does not ${pad ? 'shrink' : 'resize'} it.`,
    );
  return toFloats(cropped, valuesOf(preprocessor), output);
}

/**
 * The image without alpha: grey of one channel, which stands for equal ones, or RGB, which is made grey for a model
 * of one channel.
 * @param image 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels @param owned whether it may be written over
 */
export function opaque(
  image: RawImage,
  { channels, onWhite }: Pick<Preprocessor, 'channels' | 'onWhite'>,
  owned = false,
): RawImage {
  const { data: from, width, height, channels: stride } = image;
  const colours = stride < 3 ? 1 : 3;
  const isWeighed = channels === 1 && colours === 3;
  const alphaAt = colours < stride ? colours : undefined;
  if (alphaAt === undefined && !isWeighed) return image;
  const out = isWeighed ? 1 : colours;
  const data = owned ? from : new Uint8Array(width * height * out);
  const light = (at: number, colour: number): number => {
    const value = from[at + colour]!;
    return alphaAt !== undefined && onWhite ? onto(value, from[at + alphaAt]!) : value;
  };
  for (let i = 0, at = 0, to = 0; i < width * height; i++, at += stride, to += out) {
    const red = light(at, 0);
    if (colours === 1) {
      data[to] = red;
      continue;
    }
    const [green, blue] = [light(at, 1), light(at, 2)];
    if (isWeighed) data[to] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
    else {
      data[to] = red;
      data[to + 1] = green;
      data[to + 2] = blue;
    }
  }
  return { data: data.subarray(0, width * height * out), width, height, channels: out };
}

/** A byte laid on white, as Pillow's `alpha_composite` rounds. */
function onto(value: number, alpha: number): number {
  const sum = value * alpha + 255 * (255 - alpha) + 128;
  return ((sum >> 8) + sum) >> 8;
}

function resizeStep(image: RawImage, { resize, resample }: Preprocessor): RawImage {
  if (!resize) return image;
  const { height, width } = resizedSize(image, resize);
  return resizeImage(image, height, width, resample);
}

/** The middle of the image, zeros around it where it is smaller; the image itself where nothing changes. */
function cropStep(image: RawImage, { height, width }: { height: number; width: number }): RawImage {
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

/** In the upper left of the output; a grey image stands for all channels. */
function toFloats(
  { data, channels, width, height }: RawImage,
  values: readonly Float32Array[],
  output: Preprocessor['output'],
): Float32Array {
  const count = output.height * output.width;
  const pixels = new Float32Array(values.length * count);
  values.forEach((table, channel) => {
    let at = channel % channels;
    for (let y = 0; y < height; y++) {
      const first = channel * count + y * output.width;
      for (let to = first; to < first + width; to++, at += channels) pixels[to] = table[data[at]!]!;
    }
  });
  return pixels;
}

const known = new WeakMap<Preprocessor, readonly Float32Array[]>();

function valuesOf(preprocessor: Preprocessor): readonly Float32Array[] {
  const values = known.get(preprocessor) ?? byteValues(preprocessor);
  known.set(preprocessor, values);
  return values;
}

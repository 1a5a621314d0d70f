/** Pixels as bytes: rows from the top, `channels` values per pixel, `height * width * channels` in all. */
export interface RawImage {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** Pillow's filters, by the integers that stand for them in `preprocessor_config.json` (0 to 5). */
export const RESAMPLES = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'] as const;
export type Resample = (typeof RESAMPLES)[number];

/**
 * `image`, of 1 or 3 channels, at `height` × `width`, as `Image.resize` of Pillow 13.0 computes it, bit for bit: a horizontal
 * and a vertical pass, each rounded to bytes, whose filter widens with the reduction (antialiasing), in fixed
 * point with 22 fractional bits. A pass that changes nothing is left out, as there. The vertical pass comes first where the
 * height loses more than twice as many pixels as the width (in earlier versions of Pillow it never does, which changes a byte
 * of such pictures by 1 here and there).
 */
export function resizeImage(image: RawImage, height: number, width: number, resample: Resample): RawImage {
  if (image.height === height && image.width === width) return image;
  if (resample === 'nearest') return resizeNearest(image, height, width);
  const filter = FILTERS[resample];
  const horizontal = (from: RawImage) =>
    from.width === width ? from : resizeRows(from, weightsOf(from.width, width, filter));
  const vertical = (from: RawImage) =>
    from.height === height ? from : resizeColumns(from, weightsOf(from.height, height, filter));
  const fewerRows = image.height - height;
  const isVerticalFirst = fewerRows > 0 && fewerRows > 2 * (image.width - width);
  return isVerticalFirst ? horizontal(vertical(image)) : vertical(horizontal(image));
}

const FRACTION_BITS = 22;
const HALF = 1 << (FRACTION_BITS - 1);

interface Filter {
  /** The filter is zero beyond this distance from its centre, in input pixels at scale 1. */
  readonly support: number;
  readonly at: (x: number) => number;
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Float32 in Pillow, where all else is float64. */
const HAMMING = [Math.fround(0.54), Math.fround(0.46)] as const;

const FILTERS: Readonly<Record<Exclude<Resample, 'nearest'>, Filter>> = {
  box: { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    at: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (HAMMING[0] + HAMMING[1] * Math.cos(Math.PI * x))),
  },
  bicubic: {
    support: 2,
    at: (x) => {
      const d = Math.abs(x);
      if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * -0.5 : 0;
    },
  },
  lanczos: { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** For output position i: `counts[i]` input positions from `starts[i]`, weighted by `values[i * taps + k]`. */
interface Weights {
  readonly size: number;
  readonly taps: number;
  readonly starts: Int32Array;
  readonly counts: Int32Array;
  readonly values: Int32Array;
}

function weightsOf(inputSize: number, size: number, filter: Filter): Weights {
  const scale = inputSize / size;
  const filterScale = Math.max(scale, 1);
  const perScale = 1 / filterScale;
  const support = filter.support * filterScale;
  const taps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(size);
  const counts = new Int32Array(size);
  const values = new Int32Array(size * taps);
  const exact = new Float64Array(taps);
  for (let i = 0; i < size; i++) {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(inputSize, Math.trunc(center + support + 0.5)) - start;
    let sum = 0;
    for (let k = 0; k < count; k++) sum += exact[k] = filter.at((k + start - center + 0.5) * perScale);
    for (let k = 0; k < count; k++) {
      const scaled = (sum === 0 ? exact[k]! : exact[k]! / sum) * 2 ** FRACTION_BITS;
      values[i * taps + k] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    starts[i] = start;
    counts[i] = count;
  }
  return { size, taps, starts, counts, values };
}

const toByte = (sum: number) => {
  const value = sum >> FRACTION_BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
};

function resizeRows(image: RawImage, weights: Weights): RawImage {
  const { data: from, height, channels } = image;
  const { size: width, taps, starts, counts, values } = weights;
  const data = new Uint8Array(height * width * channels);
  let to = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const first = x * taps;
      const last = first + counts[x]!;
      let at = (y * image.width + starts[x]!) * channels;
      if (channels === 3) {
        let [red, green, blue] = [HALF, HALF, HALF];
        for (let k = first; k < last; k++, at += 3) {
          const weight = values[k]!;
          red = (red + Math.imul(from[at]!, weight)) | 0;
          green = (green + Math.imul(from[at + 1]!, weight)) | 0;
          blue = (blue + Math.imul(from[at + 2]!, weight)) | 0;
        }
        data[to++] = toByte(red);
        data[to++] = toByte(green);
        data[to++] = toByte(blue);
      } else {
        let grey = HALF;
        for (let k = first; k < last; k++) grey = (grey + Math.imul(from[at++]!, values[k]!)) | 0;
        data[to++] = toByte(grey);
      }
    }
  return { data, width, height, channels };
}

function resizeColumns(image: RawImage, weights: Weights): RawImage {
  const { width, channels } = image;
  const { size: height, taps, starts, counts, values } = weights;
  const stride = width * channels;
  const data = new Uint8Array(height * stride);
  const sums = new Int32Array(stride);
  for (let y = 0; y < height; y++) {
    sums.fill(HALF);
    for (let k = 0; k < counts[y]!; k++) {
      const weight = values[y * taps + k]!;
      const from = (starts[y]! + k) * stride;
      for (let i = 0; i < stride; i++) sums[i]! += Math.imul(image.data[from + i]!, weight);
    }
    for (let i = 0; i < stride; i++) data[y * stride + i] = toByte(sums[i]!);
  }
  return { data, width, height, channels };
}

function resizeNearest(image: RawImage, height: number, width: number): RawImage {
  const { channels } = image;
  const rows = nearestPositions(image.height, height);
  const columns = nearestPositions(image.width, width);
  const data = new Uint8Array(height * width * channels);
  let to = 0;
  for (const y of rows)
    for (const x of columns)
      for (let channel = 0; channel < channels; channel++)
        data[to++] = image.data[(y * image.width + x) * channels + channel]!;
  return { data, width, height, channels };
}

/** Adds up the steps as Pillow does, so that ties fall on the same side. */
function nearestPositions(inputSize: number, size: number): Int32Array {
  const step = inputSize / size;
  let position = step * 0.5;
  return Int32Array.from({ length: size }, () => {
    const at = Math.min(Math.trunc(position), inputSize - 1);
    position += step;
    return at;
  });
}

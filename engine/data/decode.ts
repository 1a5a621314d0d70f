import sharp from 'sharp';
import { messageOf, UserError } from '../errors.js';
import { MAX_PIXELS, toPixels } from './pixels.js';
import type { Preprocessor } from './preprocessor.js';
import type { RawImage } from './resize.js';

/**
 * A picture, a PNG, JPEG or WebP file or decoded bytes, as the input of a model: float32
 * `[channels, height, width]`. `UserError` for one that cannot be read: its message does not name the picture.
 *
 * Measured against Pillow 12.3 (`Image.open(...).convert(...)`) on RGB, grey, palette, alpha, 1-bit, 16-bit
 * RGB, CMYK, progressive and chroma-subsampled files: decoding is equal in every byte, resizing too. On
 * purpose different is 16-bit grey, of which the high byte is taken where Pillow clips at 255. As with
 * Pillow: alpha is dropped, not blended; colour profiles and the EXIF orientation are ignored; of an
 * animation the first frame counts; damaged data is an error.
 */
export async function decodeImage(
  picture: Uint8Array | RawImage,
  preprocessor: Preprocessor,
): Promise<Float32Array> {
  return toPixels('width' in picture ? picture : await decodeFile(picture), preprocessor);
}

/** The pixels of a PNG, JPEG or WebP file, 1 (grey) or 3 (RGB) channels of bytes. */
export async function decodeFile(bytes: Uint8Array): Promise<RawImage> {
  const format = formatOf(bytes);
  if (!SUPPORTED.has(format))
    throw new UserError(`${format} is not supported; supported are ${[...SUPPORTED].join(', ')}.`);
  const open = () =>
    sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'error', ignoreIcc: true }).removeAlpha();
  try {
    const isCmyk = format === 'JPEG' && (await open().metadata()).space === 'cmyk';
    const decoded = isCmyk ? open().pipelineColourspace('cmyk').toColourspace('cmyk') : open();
    const { data, info } = await decoded.raw().toBuffer({ resolveWithObject: true });
    const image = { data, width: info.width, height: info.height, channels: info.channels };
    return isCmyk ? cmykToRgb(image) : image;
  } catch (error) {
    const line = messageOf(error).split('\n', 1)[0]!;
    throw new UserError(
      /pixel limit/.test(line)
        ? `the picture has more than ${MAX_PIXELS} pixels.`
        : `not a readable ${format} picture (${line}).`,
      { cause: error },
    );
  }
}

const SUPPORTED: ReadonlySet<string> = new Set(['PNG', 'JPEG', 'WebP']);

const SIGNATURES: readonly (readonly [RegExp, string])[] = [
  [/^\x89PNG\r\n/, 'PNG'],
  [/^\xff\xd8\xff/, 'JPEG'],
  [/^RIFF[^]{4}WEBP/, 'WebP'],
  [/^GIF8/, 'GIF'],
  [/^BM/, 'BMP'],
  [/^(?:II\*\0|MM\0\*)/, 'TIFF'],
  [/^[^]{4}ftyp/, 'HEIF or AVIF'],
];

/** Told by the content, never by the name: no decoder but these three sees untrusted bytes. */
function formatOf(bytes: Uint8Array): string {
  const start = Buffer.from(bytes.subarray(0, 12)).toString('latin1');
  return SIGNATURES.find(([signature]) => signature.test(start))?.[1] ?? 'this kind of file';
}

/** Pillow's conversion, which knows no ink: each channel is darkened by black. */
function cmykToRgb({ data: from, width, height }: RawImage): RawImage {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    const light = 255 - from[4 * i + 3]!;
    for (let channel = 0; channel < 3; channel++) {
      const product = from[4 * i + channel]! * light + 128;
      data[3 * i + channel] = Math.max(0, light - (((product >> 8) + product) >> 8));
    }
  }
  return { data, width, height, channels: 3 };
}

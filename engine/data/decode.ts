import sharp from 'sharp';
import { messageOf, UserError } from '../errors.js';
import { toPixels } from './pixels.js';
import type { Preprocessor } from './preprocessor.js';
import type { RawImage } from './resize.js';
import { openTurns } from './turns.js';

/** The longest side of a JPEG. */
const MAX_SIDE = 65_535;
/** With an alpha channel, 192 MiB decoded. */
const MAX_PIXELS = 3 << 24;
/** Of interlaced PNG and progressive JPEG, which their decoders hold whole beside what they yield. */
const MAX_PROGRESSIVE = 7 << 22;
/** Of WebP, whose decoder holds it more than once. */
const MAX_WEBP = 5 << 22;
const MAX_FILE_BYTES = 64 << 20;
/** Files and pictures above this are read and decoded one at a time. */
const LARGE_FILE = 8 << 20;
const LARGE_PICTURE = 8 << 20;

/** Whatever asks for them, so that pictures take at most 256 MiB until they have the model's size. */
const turns = openTurns();

/**
 * A picture, a PNG, JPEG or WebP file or decoded bytes, as the input of a model: float32
 * `[channels, height, width]`. `UserError` for one that cannot be read: its message does not name the picture.
 *
 * Measured against Pillow 13.0 (`Image.open(...).convert(...)`) on RGB, grey, palette, alpha, 1-bit, 16-bit
 * RGB, CMYK, progressive and chroma-subsampled files: decoding is equal in every byte, resizing too. Refused is grey
 * of 16 bits, which Pillow clips at 255 and other libraries scale. As with Pillow, colour profiles and the EXIF
 * orientation are ignored; of an animation the first frame counts; damaged data is an error.
 */
export async function decodeImage(
  picture: Uint8Array | RawImage,
  preprocessor: Preprocessor,
): Promise<Float32Array> {
  if ('width' in picture) return toPixels(picture, preprocessor);
  const header = await readHeader(picture);
  const decode = () => decodeWith(header, picture, preprocessor);
  return header.pixels > LARGE_PICTURE ? turns.alone(decode) : turns.together(decode);
}

/** `decodeImage` of what `read` yields. @param bytes the size of the file, where there is one */
export async function readImage(
  read: () => Promise<Uint8Array | RawImage>,
  bytes: number | undefined,
  preprocessor: Preprocessor,
): Promise<Float32Array> {
  if (bytes === undefined || bytes <= LARGE_FILE) return decodeImage(await read(), preprocessor);
  if (bytes > MAX_FILE_BYTES)
    throw new UserError(`the file has ${bytes} bytes; up to ${MAX_FILE_BYTES} are supported.`);
  return turns.alone(async () => {
    const picture = await read();
    return 'width' in picture
      ? toPixels(picture, preprocessor)
      : decodeWith(await readHeader(picture), picture, preprocessor);
  });
}

const decodeWith = async (header: Header, bytes: Uint8Array, preprocessor: Preprocessor) =>
  toPixels(await decodePixels(header, bytes, preprocessor.onWhite), preprocessor, true);

/** The pixels of a PNG, JPEG or WebP file as bytes: 1 (grey) or 3 (RGB) channels, and alpha where it is there and wanted. */
export const decodeFile = async (bytes: Uint8Array, withAlpha = false): Promise<RawImage> =>
  decodePixels(await readHeader(bytes), bytes, withAlpha);

interface Header {
  readonly format: string;
  readonly pixels: number;
  readonly isCmyk: boolean;
  readonly hasAlpha: boolean;
}

/** `readHeader` limits what is opened. */
const open = (bytes: Uint8Array) =>
  sharp(bytes, { limitInputPixels: false, failOn: 'error', ignoreIcc: true });

/** Throws UserError for a file of another kind, and for a picture that is too large. */
async function readHeader(bytes: Uint8Array): Promise<Header> {
  const format = formatOf(bytes);
  if (!SUPPORTED.has(format))
    throw new UserError(`${format} is not supported; supported are ${[...SUPPORTED].join(', ')}.`);
  if (format === 'PNG' && bytes[PNG_DEPTH] === 16 && bytes[PNG_DEPTH + 1] === PNG_GREY)
    throw new UserError(
      'grey of 16 bits is not supported, as libraries read it in different ways; make it 8 bits.',
    );
  const { width, height, space, hasAlpha, isProgressive } = await readable(format, () =>
    open(bytes).metadata(),
  );
  const pixels = width * height;
  const most = format === 'WebP' ? MAX_WEBP : isProgressive ? MAX_PROGRESSIVE : MAX_PIXELS;
  if (pixels > most || Math.max(width, height) > MAX_SIDE)
    throw new UserError(
      `the picture is ${height}×${width}; up to ${most} pixels, and ${MAX_SIDE} on a side, are supported.`,
    );
  return { format, pixels, isCmyk: format === 'JPEG' && space === 'cmyk', hasAlpha };
}

async function decodePixels(
  { format, isCmyk, hasAlpha }: Header,
  bytes: Uint8Array,
  withAlpha: boolean,
): Promise<RawImage> {
  const kept = hasAlpha && withAlpha ? open(bytes) : open(bytes).removeAlpha();
  const decoded = isCmyk ? kept.pipelineColourspace('cmyk').toColourspace('cmyk') : kept;
  const { data, info } = await readable(format, () => decoded.raw().toBuffer({ resolveWithObject: true }));
  const image = { data, width: info.width, height: info.height, channels: info.channels };
  return isCmyk ? cmykToRgb(image) : image;
}

async function readable<T>(format: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const line = messageOf(error).split('\n', 1)[0]!;
    throw new UserError(`not a readable ${format} picture (${line}).`, { cause: error });
  }
}

/** Where a PNG says how many bits a channel has, and behind it which channels. */
const PNG_DEPTH = 24;
const PNG_GREY = 0;

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

/** Pillow's conversion, which knows no ink: each channel is darkened by black. Written over the image itself. */
function cmykToRgb({ data, width, height }: RawImage): RawImage {
  for (let i = 0; i < width * height; i++) {
    const light = 255 - data[4 * i + 3]!;
    for (let channel = 0; channel < 3; channel++) {
      const product = data[4 * i + channel]! * light + 128;
      data[3 * i + channel] = Math.max(0, light - (((product >> 8) + product) >> 8));
    }
  }
  return { data: data.subarray(0, 3 * width * height), width, height, channels: 3 };
}

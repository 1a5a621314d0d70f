import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { expect, test } from 'vitest';
import { decodeFile, decodeImage } from './decode.js';
import { opaque, toPixels } from './pixels.js';
import { parsePreprocessor } from './preprocessor.js';
import type { RawImage } from './resize.js';
import { encoder, noise, plain } from './testing.js';

const { data: bytes } = noise(5, 7, 3);
const rgb = { data: bytes, width: 7, height: 5, channels: 3 };
const decoded = async (file: Sharp) =>
  Uint8Array.from(opaque(await decodeFile(await file.toBuffer()), { channels: 3, onWhite: false }).data);
/** The bytes that a grey model sees. */
const grey = (image: RawImage) => opaque(image, { channels: 1, onWhite: false }).data;

test('reads the exact bytes of lossless files', async () => {
  expect(await decoded(encoder(rgb).png())).toEqual(bytes);
  expect(await decoded(encoder(rgb).webp({ lossless: true }))).toEqual(bytes);
});

test('reads a JPEG close to what went in', async () => {
  const data = Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => 40 + (i % 48));
  const smooth = { data, width: 16, height: 16, channels: 3 };
  const difference = (await decoded(encoder(smooth).jpeg({ quality: 100 }))).map((value, i) =>
    Math.abs(value - data[i]!),
  );
  expect(Math.max(...difference)).toBeLessThan(8);
});

test('drops alpha without blending', async () => {
  const data = Uint8Array.from({ length: 35 * 4 }, (_, i) =>
    i % 4 === 3 ? 10 : bytes[i - Math.floor(i / 4)]!,
  );
  expect(await decoded(encoder({ ...rgb, data, channels: 4 }).png())).toEqual(bytes);
});

test('reads palettes, transparent ones too', async () => {
  const data = Uint8Array.from({ length: 35 * 4 }, (_, i) => [200, 30, (i >> 2) % 2 ? 90 : 10, 0][i % 4]!);
  const file = encoder({ ...rgb, data, channels: 4 }).png({ palette: true, quality: 100, dither: 0 });
  const metadata = await sharp(await file.toBuffer()).metadata();
  expect(metadata.isPalette).toBe(true);
  expect((await decoded(file)).length).toBe(35 * 3);
});

test('takes the high byte of 16 bits', async () => {
  const wide = Uint16Array.from(bytes, (value) => value * 256 + 77);
  const file = sharp(wide, { raw: { width: 7, height: 5, channels: 3 } })
    .toColourspace('rgb16')
    .png();
  expect(await decoded(file)).toEqual(bytes);
});

test('reads grey files of 8 bits, and refuses those of 16', async () => {
  const image = noise(5, 7, 1);
  const file = await encoder(image).toColourspace('b-w').png().toBuffer();
  expect(Uint8Array.from(grey(await decodeFile(file)))).toEqual(image.data);
  const wide = sharp(Uint16Array.from(image.data), { raw: { width: 7, height: 5, channels: 1 } });
  await expect(decodeFile(await wide.toColourspace('grey16').png().toBuffer())).rejects.toThrow(
    'grey of 16 bits is not supported',
  );
});

test('lays transparency on white where the preprocessor makes pictures RGB', async () => {
  const rgba = Uint8Array.of(200, 30, 90, 0, 200, 30, 90, 100, 200, 30, 90, 255);
  const file = await encoder({ data: rgba, width: 3, height: 1, channels: 4 }).png().toBuffer();
  const image = await decodeFile(file, true);
  expect([...opaque(image, { channels: 3, onWhite: true }).data]).toEqual([
    255, 255, 255, 233, 167, 190, 200, 30, 90,
  ]);
  expect([...opaque(image, { channels: 1, onWhite: true }).data]).toEqual([255, 189, 88]);
  const grey = { data: Uint8Array.of(40, 0, 40, 128), width: 2, height: 1, channels: 2 };
  expect([...opaque(grey, { channels: 3, onWhite: true }).data]).toEqual([255, 147]);
});

test('turns ink into light', async () => {
  const white = sharp({ create: { width: 8, height: 8, channels: 3, background: 'white' } });
  const file = await white.toColourspace('cmyk').jpeg().toBuffer();
  expect((await sharp(file).metadata()).space).toBe('cmyk');
  const image = await decodeFile(file);
  expect([image.channels, image.data.length]).toEqual([3, 192]);
  expect(Math.min(...image.data)).toBeGreaterThan(250);
});

test('ignores the orientation of a camera', async () => {
  const file = await encoder(rgb).withMetadata({ orientation: 6 }).jpeg().toBuffer();
  expect(await decodeFile(file)).toMatchObject({ width: 7, height: 5 });
});

test('weighs colours for grey as Pillow does', () => {
  const data = Uint8Array.of(200, 30, 90, 10, 250, 3, 1, 2, 3);
  expect([...grey({ data, width: 3, height: 1, channels: 3 })]).toEqual([88, 150, 2]);
});

test('lays channels out one after another, rescaled and normalized in float32', async () => {
  const config = { do_resize: false, image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] };
  const preprocessor = parsePreprocessor(
    config,
    { channels: 3, imageSize: { height: 5, width: 7 }, family: 'vit' },
    'test',
  );
  const pixels = await decodeImage(await encoder(rgb).png().toBuffer(), preprocessor);
  expect(pixels.length).toBe(105);
  for (const [channel, pixel] of [
    [0, 0],
    [1, 20],
    [2, 34],
  ] as const) {
    const value = bytes[pixel * 3 + channel]! / 255;
    const expected = (value - config.image_mean[channel]!) / config.image_std[channel]!;
    expect(pixels[channel * 35 + pixel]).toBeCloseTo(expected, 5);
  }
});

const fit = (config: object, imageSize: number) =>
  parsePreprocessor(
    {
      image_processor_type: 'CLIPImageProcessor',
      do_convert_rgb: false,
      do_rescale: false,
      do_normalize: false,
      image_mean: 0,
      image_std: 1,
      ...config,
    },
    { channels: 1, imageSize, family: 'vit' },
    'test',
  );

test('keeps the aspect ratio of the shortest edge and crops the middle', () => {
  const image = { data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), width: 5, height: 2, channels: 1 };
  expect([...toPixels(image, fit({ size: 2, crop_size: 2 }, 2))]).toEqual([2, 3, 7, 8]);
  const tall = { ...image, width: 2, height: 5 };
  expect([...toPixels(tall, fit({ size: 2, crop_size: 2 }, 2))]).toEqual([3, 4, 5, 6]);
});

test('pads a crop larger than the picture with zero bytes, more of them before', () => {
  const image = { data: Uint8Array.of(1, 2, 3, 4), width: 2, height: 2, channels: 1 };
  expect([...toPixels(image, fit({ do_resize: false, crop_size: 3 }, 3))]).toEqual([
    0, 0, 0, 0, 1, 2, 0, 3, 4,
  ]);
  const wide = { data: Uint8Array.of(1, 2, 3, 4), width: 4, height: 1, channels: 1 };
  expect([...toPixels(wide, fit({ do_resize: false, crop_size: 2 }, 2))]).toEqual([0, 0, 2, 3]);
});

test('refuses a picture that nothing brings to size', () => {
  expect(() => toPixels(noise(3, 2, 1), plain(2))).toThrow('is 3×2, the model takes 2×2');
});

test('refuses a picture whose resized form would not fit in memory', () => {
  const thread = { data: new Uint8Array(2_000_000), width: 2_000_000, height: 1, channels: 1 };
  expect(() => toPixels(thread, fit({ size: 224 }, 224))).toThrow('too long and narrow');
});

test('refuses what is damaged, too large, or no picture it knows', async () => {
  const png = await encoder(noise(64, 64, 3))
    .png()
    .toBuffer();
  const jpeg = await encoder(noise(64, 64, 3))
    .jpeg()
    .toBuffer();
  await expect(decodeFile(png.subarray(0, png.length / 2))).rejects.toThrow('not a readable PNG');
  await expect(decodeFile(jpeg.subarray(0, jpeg.length / 2))).rejects.toThrow('not a readable JPEG');
  await expect(decodeFile(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'))).rejects.toThrow(
    'this kind of file is not supported; supported are PNG, JPEG, WebP',
  );
  await expect(decodeFile(await encoder(rgb).gif().toBuffer())).rejects.toThrow('GIF is not supported');
  await expect(decodeFile(new Uint8Array(0))).rejects.toThrow(expect.objectContaining({ name: 'UserError' }));

  await expect(decodeFile(ofSide(60_000, png))).rejects.toThrow('60000×60000; up to 50331648 pixels');
  // Decoders that hold pictures whole take more memory for each pixel.
  const interlaced = await encoder(noise(64, 64, 3))
    .png({ progressive: true })
    .toBuffer();
  await expect(decodeFile(ofSide(6000, interlaced))).rejects.toThrow('6000×6000; up to 29360128 pixels');
  await expect(decodeFile(ofSide(6000, png))).rejects.toThrow('not a readable PNG');
  const side = { width: 4700, height: 4700, channels: 3, background: 'green' } as const;
  const webp = await sharp({ create: side }).webp({ effort: 0 }).toBuffer();
  await expect(decodeFile(webp)).rejects.toThrow('4700×4700; up to 20971520 pixels');
});

/** A PNG whose header says that it has so many pixels on a side. */
function ofSide(side: number, png: Uint8Array): Buffer {
  const bomb = Buffer.from(png);
  bomb.writeUInt32BE(side, 16);
  bomb.writeUInt32BE(side, 20);
  bomb.writeUInt32BE(crc32(bomb.subarray(12, 29)), 29);
  return bomb;
}

function crc32(chunk: Uint8Array): number {
  let crc = ~0;
  for (const byte of chunk) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openImages } from './images.js';
import type { ImageSource } from './image-source.js';
import { encoder, firstPixels, greyPng, idxFile, noise, plain, readAll, temporaryFolder } from './testing.js';

async function flat(files: Record<string, Uint8Array>): Promise<ImageSource> {
  const folder = await temporaryFolder();
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
  return openImages(folder);
}

test('leaves out what cannot be read, once named, and fills the batches', async () => {
  const files: Record<string, Uint8Array> = {};
  for (let i = 0; i < 8; i++) files[`${i}.png`] = await greyPng(i);
  files['2.png'] = Buffer.from('not a picture');
  files['5.png'] = await greyPng(5, 3, 3);
  const source = await flat(files);
  for (const pass of [1, 2]) {
    const batches = await readAll(source, [0, 1, 2, 3, 4, 5, 6, 7, 0], 3);
    expect([pass, batches.map((batch) => batch.count)]).toEqual([pass, [3, 3, 1]]);
    expect(firstPixels(batches)).toEqual([0, 1, 3, 4, 6, 7, 0]);
    expect(batches.map((batch) => batch.pixels.length)).toEqual([12, 12, 4]);
  }
  expect(source.skipped).toEqual([
    { name: '2.png', reason: 'this kind of file is not supported; supported are PNG, JPEG, WebP.' },
    {
      name: '5.png',
      reason: 'the picture is 3×3, the model takes 2×2, and its preprocessor does not resize it.',
    },
  ]);
});

test('says why if nothing at all can be read', async () => {
  const source = await flat({ 'a.png': Buffer.from('x'), 'b.jpg': Buffer.from('y') });
  await expect(readAll(source, [0, 1])).rejects.toThrow(/^No picture of .* could be read; b\.jpg: this kind/);
  expect(await readAll(source, [])).toEqual([]);
});

test('keeps the order however long each picture takes', async () => {
  const files: Record<string, Uint8Array> = {};
  for (let i = 0; i < 12; i++) {
    const size = i % 3 === 0 ? 600 : 4;
    files[`${String.fromCharCode(97 + i)}.png`] = await greyPng(i * 20, size, size);
  }
  const source = await flat(files);
  const indices = [11, 3, 0, 7, 6, 9, 1, 2, 10];
  const preprocessor = { ...plain(), resize: { height: 2, width: 2 } };
  expect(firstPixels(await readAll(source, indices, 4, preprocessor))).toEqual(indices.map((i) => i * 20));
});

test('reads no further ahead than it must when the reader stops', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'n-images-idx3-ubyte'), idxFile([100, 2, 2], noise(100, 4, 1).data));
  const source = await openImages(folder);
  let drawn = 0;
  let closed = false;
  function* indices() {
    try {
      for (; drawn < 100; drawn++) yield drawn;
    } finally {
      closed = true;
    }
  }
  for await (const batch of source.batches(indices(), 2, plain())) {
    expect(batch.count).toBe(2);
    break;
  }
  expect(drawn).toBeLessThan(10);
  expect(closed).toBe(true);
});

test('takes a number that is no picture for a defect, not for a damaged picture', async () => {
  const source = await flat({ 'a.png': await greyPng(1) });
  await expect(readAll(source, [1])).rejects.toThrow(RangeError);
  await expect(source.fingerprint([-1])).rejects.toThrow(RangeError);
  await expect(readAll(source, [0], 0)).rejects.toThrow(RangeError);
});

test('reads a folder of mixed files alike', async () => {
  const grey = noise(2, 2, 1);
  const rgb = {
    ...grey,
    channels: 3,
    data: Uint8Array.from({ length: 12 }, (_, i) => grey.data[Math.floor(i / 3)]!),
  };
  const source = await flat({
    '1.png': await encoder(grey).toColourspace('b-w').png().toBuffer(),
    '2.webp': await encoder(rgb).webp({ lossless: true }).toBuffer(),
    '3.jpeg': await encoder(grey).jpeg({ quality: 100 }).toBuffer(),
  });
  const [batch] = await readAll(source, [0, 1, 2], 3);
  expect([...batch!.pixels.subarray(0, 4)]).toEqual([...grey.data]);
  expect(batch!.pixels.subarray(4, 8)).toEqual(batch!.pixels.subarray(0, 4));
  for (let i = 0; i < 4; i++) expect(Math.abs(batch!.pixels[8 + i]! - grey.data[i]!)).toBeLessThan(4);
});

test('says what is supported', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'a.txt'), 'some text');
  await expect(openImages(join(folder, 'a.txt'))).rejects.toThrow(
    'is not a set of pictures; supported are a folder',
  );
  await expect(openImages(join(folder, 'none'))).rejects.toThrow('no such file or folder');
  await mkdir(join(folder, 'empty'));
  await expect(openImages(join(folder, 'empty'))).rejects.toThrow('holds no pictures');
});

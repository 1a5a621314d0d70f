import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { openIdx, readIdx } from './idx.js';
import { openImages } from './images.js';
import { firstPixels, idxFile, noise, parsed, readAll, temporaryFolder } from './testing.js';

const data = Uint8Array.from({ length: 12 }, (_, i) => i * 10);
const images = idxFile([3, 2, 2], data);
const colours = idxFile(
  [4, 50, 50],
  noise(50, 50, 4).data.map((value, i) => value ^ (i * i)),
);

async function write(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, bytes);
  return path;
}

test.each([
  ['x-images-idx3-ubyte', images, 'x-labels-idx1-ubyte', false],
  ['x-images-idx3-ubyte.gz', gzipSync(images), 'x-labels-idx1-ubyte.gz', true],
  ['x-images.idx3-ubyte.gz', gzipSync(images), 'x-labels.idx1-ubyte', false],
])('reads %s with its labels', async (name, bytes, labels, zipped) => {
  const path = await write(name, bytes);
  const labelFile = idxFile([3], Uint8Array.of(2, 0, 1));
  await writeFile(join(path, '..', labels), zipped ? gzipSync(labelFile) : labelFile);
  const source = await openImages(join(path, '..'));
  const batches = await readAll(source, [2, 0, 1], 2);
  expect(source).toMatchObject({ name, kind: 'idx', length: 3, labelled: true });
  expect(batches.map((batch) => [...batch.pixels])).toEqual([
    [80, 90, 100, 110, 0, 10, 20, 30],
    [40, 50, 60, 70],
  ]);
  expect(batches.flatMap((batch) => [...batch.labels])).toEqual([1, 2, 0]);
});

test('does without labels', async () => {
  const source = await openImages(await write('pictures.idx', images));
  expect(source.labelled).toBe(false);
  expect((await readAll(source, [0]))[0]!.labels).toEqual(Int32Array.of(-1));
});

test('reads colour', async () => {
  const set = await openIdx(await write('c-images-idx4-ubyte', idxFile([2, 3, 4, 3], noise(6, 4, 3).data)));
  expect(await set.read(1)).toMatchObject({ width: 4, height: 3, channels: 3 });
});

test.each([
  ['truncated', images.subarray(0, 20), 'claims 28 bytes, but there are 20'],
  ['too long', Buffer.concat([images, data]), 'claims 28 bytes, but there are 40'],
  ['within the header', images.subarray(0, 9), 'ends within its header'],
  ['an empty file', Buffer.alloc(0), 'ends within its header'],
  ['floats', idxFile([3, 2, 2], new Uint8Array(48), 0x0d), 'element type 0x0d is not supported'],
  ['two dimensions', idxFile([3, 4], data), '2 dimensions'],
  ['no pictures', idxFile([0, 2, 2], new Uint8Array(0)), 'is empty'],
  ['a vast claim', idxFile([0xffffffff, 0xffff, 0xffff], data), 'are supported'],
  ['gzip of something else', gzipSync(noise(30, 30, 1).data), 'not an IDX file'],
  ['gzip cut within the header', gzipSync(images).subarray(0, 12), 'ends within its header'],
  ['gzip of a truncated file', gzipSync(images.subarray(0, 20)), 'claims 28 bytes, but there are 20'],
  ['gzip that ends early', gzipSync(colours).subarray(0, 3000), 'there are fewer'],
  ['gzip of too much', gzipSync(Buffer.concat([images, data])), 'claims 28 bytes, but there are more'],
  [
    'a bomb',
    gzipSync(Buffer.concat([images, Buffer.alloc(50_000_000)])),
    'claims 28 bytes, but there are more',
  ],
  ['a claim no such gzip can hold', gzipSync(idxFile([60000, 100, 100], data)), 'there are far less'],
  ['garbage after the gzip magic', Buffer.from([0x1f, 0x8b, 1, 2, 3, 4]), 'damaged gzip data'],
])('refuses %s', async (_, bytes, message) => {
  const path = await write('x-images-idx3-ubyte', bytes);
  await expect(readIdx(path)).rejects.toThrow(expect.objectContaining({ name: 'UserError' }));
  await expect(readIdx(path)).rejects.toThrow('x-images-idx3-ubyte: ');
  await expect(readIdx(path)).rejects.toThrow(message);
});

test('refuses labels that do not belong', async () => {
  const path = await write('x-images-idx3-ubyte', images);
  const labels = join(path, '..', 'x-labels-idx1-ubyte');
  await writeFile(labels, idxFile([2], Uint8Array.of(0, 1)));
  await expect(openIdx(path)).rejects.toThrow(
    'x-labels-idx1-ubyte holds 2 labels, but x-images-idx3-ubyte holds 3 pictures',
  );
  await writeFile(labels, images);
  await expect(openIdx(path)).rejects.toThrow('holds pictures where labels were expected');
  await writeFile(labels, idxFile([2], Uint8Array.of(0, 1)));
  await expect(openImages(labels)).rejects.toThrow('name the images file beside it');
});

test('asks which of several to take', async () => {
  const path = await write('a-images-idx3-ubyte', images);
  await writeFile(join(path, '..', 'b-images-idx3-ubyte'), images);
  await expect(openImages(join(path, '..'))).rejects.toThrow(
    /several sets of pictures; name one: .*a-images-idx3-ubyte, .*b-images-idx3-ubyte\./,
  );
});

test('resizes as the preprocessor says', async () => {
  const source = await openImages(
    await write('x-images-idx3-ubyte', idxFile([1, 4, 4], new Uint8Array(16).fill(9))),
  );
  const [batch] = await readAll(
    source,
    [0],
    1,
    parsed({ size: 2, do_rescale: false, do_normalize: false }, 2),
  );
  expect(firstPixels([batch!])).toEqual([9]);
  expect(batch!.pixels.length).toBe(4);
});

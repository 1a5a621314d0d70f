import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { expect, test } from 'vitest';
import { openImages } from './images.js';
import { parquetSplits } from './parquet.js';
import { firstPixels, greyPng, parquetFile, readAll, temporaryFolder } from './testing.js';

const pictures = await Promise.all(
  [10, 11, 12, 13, 14].map(async (value) => ({ bytes: await greyPng(value), path: `${value}.png` })),
);

async function write(files: Record<string, Uint8Array>): Promise<string> {
  const folder = await temporaryFolder();
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
  return folder;
}

const columns = (...columnData: Parameters<typeof parquetWriteBuffer>[0]['columnData']) =>
  Buffer.from(parquetWriteBuffer({ columnData }));

test('reads the shards of a split one after another, in any order', async () => {
  const names = ['cat', 'dog'];
  const folder = await write({
    'train-00001-of-00002.parquet': parquetFile(pictures.slice(3), [1, null], { names }),
    'train-00000-of-00002.parquet': parquetFile(pictures.slice(0, 3), [0, 1, 0], { names }),
  });
  const source = await openImages(folder);
  const batches = await readAll(source, [4, 0, 3, 1, 2], 3);
  expect(source).toMatchObject({ kind: 'parquet', length: 5, labelled: true, classNames: names });
  expect(firstPixels(batches)).toEqual([14, 10, 13, 11, 12]);
  expect(batches.flatMap((batch) => [...batch.labels])).toEqual([-1, 0, 1, 1, 0]);
});

test('asks which split to take, and takes it by name', async () => {
  const folder = await write({
    'test-00000-of-00001.parquet': parquetFile(pictures.slice(0, 1), [0]),
    'train-00000-of-00002.parquet': parquetFile(pictures.slice(1, 2), [0]),
    'train-00001-of-00002.parquet': parquetFile(pictures.slice(2, 4), [0, 1]),
  });
  await expect(openImages(folder)).rejects.toThrow(
    `several sets of pictures; name one: ${join(folder, 'test')}, ${join(folder, 'train')}.`,
  );
  expect(await openImages(join(folder, 'train'))).toMatchObject({ name: 'train', length: 3 });
  expect(await openImages(join(folder, 'train-00001-of-00002.parquet'))).toMatchObject({ length: 2 });
});

test('tells splits by name', () => {
  expect([...parquetSplits(['0001.parquet', '0000.parquet', 'readme.md'])]).toEqual([
    ['', ['0000.parquet', '0001.parquet']],
  ]);
  expect([...parquetSplits(['train-00000-of-00001-b42.parquet', 'val.parquet']).keys()]).toEqual([
    'train',
    'val',
  ]);
});

test('never follows a path that a file names', async () => {
  const rows = [pictures[0]!, { bytes: null, path: '/etc/passwd' }, null, pictures[3]!];
  const folder = await write({ 'x.parquet': parquetFile(rows, [0, 1, 2, 3]) });
  const source = await openImages(folder);
  expect(firstPixels(await readAll(source, [0, 1, 2, 3]))).toEqual([10, 13]);
  expect(source.skipped).toEqual([
    {
      name: 'x.parquet row 1',
      reason: 'the row holds a path and no picture; only embedded pictures are read',
    },
    { name: 'x.parquet row 2', reason: 'the row holds no picture' },
  ]);
});

test('takes plain bytes in `img` and labels that are texts', async () => {
  const bytes = columns(
    { name: 'id', data: [7, 8, 9], type: 'INT32' },
    { name: 'img', data: pictures.slice(0, 3).map((row) => row.bytes), type: 'BYTE_ARRAY' },
    { name: 'fine_label', data: ['dog', 'cat', 'dog'], type: 'STRING' },
  );
  const source = await openImages(await write({ 'x.parquet': bytes }));
  expect(source.classNames).toEqual(['cat', 'dog']);
  expect([...source.labels!]).toEqual([1, 0, 1]);
  expect(firstPixels(await readAll(source, [2, 0]))).toEqual([12, 10]);
});

test('takes 64-bit labels, and does without labels', async () => {
  const img = {
    name: 'image',
    data: pictures.slice(0, 2).map((row) => row.bytes),
    type: 'BYTE_ARRAY' as const,
  };
  const wide = columns(img, { name: 'labels', data: [3n, 4n], type: 'INT64' });
  expect([...(await openImages(await write({ 'x.parquet': wide }))).labels!]).toEqual([3, 4]);
  expect(await openImages(await write({ 'x.parquet': columns(img) }))).toMatchObject({
    labelled: false,
    length: 2,
  });
});

test('refuses columns that it cannot use', async () => {
  const img = { name: 'image', data: [pictures[0]!.bytes], type: 'BYTE_ARRAY' as const };
  const message = async (bytes: Uint8Array) =>
    openImages(await write({ 'x.parquet': bytes })).then(
      () => 'opened',
      (error: Error) => error.message,
    );
  expect(await message(columns({ name: 'text', data: ['a'] }))).toBe(
    'x.parquet: no column "image" or "img"; it has "text".',
  );
  expect(await message(columns({ name: 'image', data: [5], type: 'INT32' }))).toMatch(
    'column "image" must hold encoded pictures',
  );
  expect(await message(columns(img, { name: 'label', data: [0.5], type: 'DOUBLE' }))).toBe(
    'x.parquet: column "label" holds 0.5, which is not a label.',
  );
  expect(await message(columns(img, { name: 'label', data: [-2], type: 'INT32' }))).toMatch('holds -2');
});

test('refuses damaged files with their name', async () => {
  const good = parquetFile(pictures, [0, 1, 2, 3, 4]);
  const cut = Buffer.concat([good.subarray(0, 200), good.subarray(400)]);
  const files = { cut, short: Buffer.from('PAR1PAR1'), noFooter: good.subarray(0, -4) };
  for (const [name, bytes] of Object.entries(files)) {
    const folder = await write({ [`${name}.parquet`]: bytes });
    const reading = openImages(folder).then((source) => readAll(source, [0, 1, 2, 3, 4]));
    await expect(reading).rejects.toThrow(expect.objectContaining({ name: 'UserError' }));
    await expect(reading).rejects.toThrow(`${name}.parquet: `);
  }
});

test('survives flipped bytes', async () => {
  const good = parquetFile(pictures.slice(0, 1), [0], { names: ['a'] });
  const folder = await temporaryFolder();
  const path = join(folder, 'x.parquet');
  for (let at = 0; at < good.length; at += 2) {
    const bytes = Buffer.from(good);
    bytes[at]! ^= at % 4 === 0 ? 0xff : 0x01;
    await writeFile(path, bytes);
    try {
      await readAll(await openImages(path), [0]);
    } catch (error) {
      expect(error).toMatchObject({ name: 'UserError' });
    }
  }
});

test('knows other rows and other content by the fingerprint', async () => {
  const open = async (labels: number[]) =>
    openImages(await write({ 'x.parquet': parquetFile(pictures, labels) }));
  const source = await open([0, 1, 2, 3, 4]);
  const fingerprint = await source.fingerprint([0, 1]);
  expect(await (await open([0, 1, 2, 3, 4])).fingerprint([0, 1])).toBe(fingerprint);
  expect(await source.fingerprint([0, 2])).not.toBe(fingerprint);
  expect(await (await open([0, 2, 2, 3, 4])).fingerprint([0, 1])).not.toBe(fingerprint);
});

import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { openImages } from './images.js';
import { firstPixels, greyPng, readAll, temporaryFolder } from './testing.js';

/** A folder of these files: a number is the grey of a 2×2 PNG, a text the content. */
async function folderOf(files: Record<string, number | string>): Promise<string> {
  const folder = await temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, typeof content === 'number' ? await greyPng(content) : content);
  }
  return folder;
}

test('labels class folders in the order of their names', async () => {
  const folder = await folderOf({
    'b/2.png': 20,
    'b/10.png': 21,
    'B/x.PNG': 1,
    'a/deep/er/y.png': 10,
    'a/.hidden.png': 99,
    '.git/z.png': 99,
    'notes/readme.txt': 'text',
    'list.csv': 'a,b',
  });
  const source = await openImages(folder);
  const batches = await readAll(source, [0, 1, 2, 3]);
  expect(source).toMatchObject({ kind: 'folder', length: 4, labelled: true, classNames: ['B', 'a', 'b'] });
  expect(firstPixels(batches)).toEqual([1, 10, 21, 20]);
  expect([...batches[0]!.labels]).toEqual([0, 1, 2, 2]);
  expect(source.skipped).toEqual([]);
});

test('takes a flat folder without labels', async () => {
  const source = await openImages(await folderOf({ '2.png': 2, '1.png': 1 }));
  const batches = await readAll(source, [0, 1]);
  expect(source).toMatchObject({ length: 2, labelled: false });
  expect(source.classNames).toBeUndefined();
  expect(firstPixels(batches)).toEqual([1, 2]);
  expect([...batches[0]!.labels]).toEqual([-1, -1]);
});

test('names what it leaves out', async () => {
  const folder = await folderOf({ 'a/1.png': 1, 'a/2.gif': 'GIF89a', 'loose.png': 2, 'a/text.json': '{}' });
  const source = await openImages(folder);
  expect(source.length).toBe(1);
  expect(source.skipped).toEqual([
    { name: 'a/2.gif', reason: 'this picture format is not supported (PNG, JPEG and WebP are)' },
    { name: 'loose.png', reason: 'stands beside class folders, in none of them' },
  ]);
});

test('follows links to files inside the folder and no others', async () => {
  const outside = await folderOf({ 'secret.png': 99 });
  const folder = await folderOf({ 'a/1.png': 1 });
  await symlink(join(folder, 'a', '1.png'), join(folder, 'a', '2.png'));
  await symlink(join(outside, 'secret.png'), join(folder, 'a', '3.png'));
  await symlink(join(folder, 'nowhere.png'), join(folder, 'a', '4.png'));
  await symlink(folder, join(folder, 'a', 'loop'));
  await symlink(outside, join(folder, 'b'));
  const source = await openImages(folder);
  expect(firstPixels(await readAll(source, [0, 1]))).toEqual([1, 1]);
  expect(source.length).toBe(2);
  expect(source.skipped).toEqual([
    { name: 'a/3.png', reason: 'a symbolic link that leaves the folder' },
    { name: 'a/4.png', reason: 'a broken symbolic link' },
    { name: 'a/loop', reason: 'a symbolic link that leaves the folder' },
    { name: 'b', reason: 'a symbolic link that leaves the folder' },
  ]);
});

test('says what it expected where there are no pictures', async () => {
  await expect(openImages(await folderOf({}))).rejects.toThrow(
    'holds no pictures: expected PNG, JPEG or WebP',
  );
  await expect(openImages(await folderOf({ 'a.bmp': 'BM' }))).rejects.toThrow(
    '1 skipped, such as a.bmp: this',
  );
});

test('knows a changed picture by the fingerprint', async () => {
  const one = await openImages(await folderOf({ 'a/1.png': 1, 'b/1.png': 2 }));
  const same = await openImages(await folderOf({ 'b/1.png': 2, 'a/1.png': 1 }));
  const other = await openImages(await folderOf({ 'a/1.png': 1, 'b/1.png': 3 }));
  const renamed = await openImages(await folderOf({ 'a/2.png': 1, 'b/1.png': 2 }));
  const fingerprint = await one.fingerprint();
  expect(fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(await one.fingerprint([0, 1])).toBe(fingerprint);
  expect(await same.fingerprint()).toBe(fingerprint);
  expect(await other.fingerprint()).not.toBe(fingerprint);
  expect(await renamed.fingerprint()).not.toBe(fingerprint);
  expect(await one.fingerprint([1, 0])).not.toBe(fingerprint);
  expect(await other.fingerprint([0])).toBe(await one.fingerprint([0]));
});

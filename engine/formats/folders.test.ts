import { chmod, readdir, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { makeFolder, removeEmpty } from './folders.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();

it('makes what is missing, says which, and takes it away again where it is empty', async () => {
  expect(await makeFolder(at('a', 'b', 'c'))).toEqual([at('a'), at('a', 'b'), at('a', 'b', 'c')]);
  expect(await makeFolder(at('a', 'b', 'd'))).toEqual([at('a', 'b', 'd')]);
  expect(await makeFolder(at('a'))).toEqual([]);
  await removeEmpty([at('a'), at('a', 'b'), at('a', 'b', 'c')]);
  expect(await readdir(at('a', 'b'))).toEqual(['d']);
});

it('of many who make a folder at once, one has made it', async () => {
  const made = await Promise.all(Array.from({ length: 8 }, () => makeFolder(at('a', 'b'))));
  expect(made.flat().sort()).toEqual([at('a'), at('a', 'b')]);
});

it.each([
  ['a file', (name: string) => at('file', name), /a part of the path is not a folder/],
  ['a name that is too long', (name: string) => at(name, 'n'.repeat(300)), /the name is too long/],
])('is refused below %s, and leaves nothing', async (_, pathOf, reason) => {
  await writeFile(at('file'), '');
  expect(await complaint(() => makeFolder(pathOf('a')))).toMatch(reason);
  expect(await readdir(at())).toEqual(['file']);
});

// Node's own recursive mkdir never returns here.
it.skipIf(!existsSync('/proc/self'))('is refused where a file system has no such names', async () => {
  expect(await complaint(() => makeFolder('/proc/x/y'))).toMatch(/^Cannot write \/proc\/x\/y: no such file/);
});

it.skipIf(process.getuid?.() === 0 || process.platform === 'win32')(
  'is refused in a read-only folder',
  async () => {
    await chmod(at(), 0o500);
    expect(await complaint(() => makeFolder(at('a')))).toMatch(/permission denied/);
    await chmod(at(), 0o700);
  },
);

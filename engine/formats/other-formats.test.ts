import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { refuseOtherFormats } from './other-formats.js';
import { openSafetensors, writeSafetensors } from './safetensors.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();
let folder: string;
let root: string;
beforeEach(async () => {
  root = at();
  folder = at('model');
  await mkdir(folder);
});

it.each<[string, string | Buffer, RegExp]>([
  [
    'a Git LFS pointer',
    'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n',
    /^model\.safetensors is a Git LFS pointer.*git lfs pull/,
  ],
  [
    'a web page',
    '<!doctype html><html><body>Access denied</body></html>',
    /is a web page.*download it again/,
  ],
  ['GGUF', 'GGUF\x03\0\0\0', /is GGUF/],
  ['a pickle', Buffer.from([0x80, 2, 0x8a, 10, 0, 0, 0, 0, 0, 0, 0, 0]), /can run code/],
  ['nothing', '', /not a safetensors file/],
])('says that model.safetensors is %s', async (_, content, message) => {
  await writeFile(join(folder, 'model.safetensors'), content);
  expect(await complaint(() => openSafetensors(folder))).toMatch(message);
});

it('says that a link leads nowhere', async () => {
  await symlink('../blobs/deadbeef', join(folder, 'model.safetensors'));
  expect(await complaint(() => openSafetensors(folder))).toMatch(/is a link to a file that is not there/);
});

it.each([
  ['model.gguf', /is GGUF, the format of llama\.cpp/],
  ['model.onnx', /is an ONNX graph/],
  ['pytorch_model.bin', /can run code and is not read/],
  ['model.safetensors', /give the folder that holds it/],
  ['notes.txt', /is a file; models are read from a folder/],
])('refuses %s as a model, and names what a folder holds instead', async (name, message) => {
  const file = join(folder, name);
  await writeFile(file, '');
  expect(await complaint(() => refuseOtherFormats(file))).toMatch(message);
  if (/gguf|onnx|bin/.test(name)) expect(await complaint(() => refuseOtherFormats(folder))).toMatch(message);
});

it('tells how to get a model of a hub, and where it lies in a cache', async () => {
  expect(await complaint(() => refuseOtherFormats('meta-llama/Llama-3.2-1B'))).toMatch(
    /no such file or folder.*elastic-precision get meta-llama\/Llama-3\.2-1B/,
  );
  await mkdir(join(folder, 'snapshots'));
  await mkdir(join(folder, 'blobs'));
  expect(await complaint(() => refuseOtherFormats(folder))).toMatch(/Hugging Face cache.*snapshots/);
});

it('follows links of shards to the blobs of a cache, from wherever they are', async () => {
  const blobs = join(root, 'hub', 'models--a--b', 'blobs');
  await mkdir(blobs, { recursive: true });
  const blob = join(blobs, 'a'.repeat(64));
  await writeSafetensors(blob, [{ name: 'x', dtype: 'F32', shape: [1], data: Float32Array.of(3) }]);
  await symlink(blob, join(folder, 'one.safetensors'));
  await writeFile(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ weight_map: { x: 'one.safetensors' } }),
  );
  const source = await openSafetensors(folder);
  expect([...(await source.read('x'))]).toEqual([3]);
  await source.close();
});

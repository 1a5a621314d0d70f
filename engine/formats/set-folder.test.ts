import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { beforeEach, expect, it } from 'vitest';
import { deleteSet, setContents } from './set-folder.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();
const DEAD = 2 ** 22 + 1;
const OWN = [
  'evaluations/one.json',
  'evaluations/torn.json',
  'sensitivity.json',
  'sensitivity.json.partial',
  'adapter_model.safetensors',
  'adapter_config.json',
];

beforeEach(async () => {
  await mkdir(at('set', 'evaluations'), { recursive: true });
  for (const name of OWN)
    await writeFile(at('set', name), name.endsWith('one.json') ? '{"adapters":[{}]}' : 'x');
});

const left = (folder: string) => readdir(folder, { recursive: true });

it('a set goes as a whole, its folder with it, and says so', async () => {
  await writeFile(at('set', `.adapter_model.safetensors.${DEAD}-0123abcd.partial`), '');
  await writeFile(at('set', '.sensitivity.json.lock.0'), '');
  const { deleted, kept } = await deleteSet(at('set'));
  expect([...deleted].sort()).toEqual([...OWN, '.sensitivity.json.lock.0'].sort());
  expect(deleted.at(-1)).toBe('adapter_config.json');
  expect(kept).toEqual([]);
  expect(existsSync(at('set'))).toBe(false);
});

it('from a folder above models goes alone', async () => {
  for (const model of ['vit', 'set', 'evaluations/vit']) {
    await mkdir(at('set', model), { recursive: true });
    await writeFile(at('set', model, 'config.json'), '{}');
    await writeFile(at('set', model, 'adapter_config.json'), '{}');
  }
  await writeFile(at('set', 'config.json'), '{}');
  await writeFile(at('set', 'notes.txt'), '');
  const others = ['config.json', 'evaluations/vit', 'notes.txt', 'set', 'vit'];
  expect([...(await setContents(at('set'))).others].sort()).toEqual(others);
  const { deleted, kept } = await deleteSet(at('set'));
  expect([[...deleted].sort(), [...kept].sort()]).toEqual([[...OWN].sort(), others]);
  expect((await left(at('set'))).filter((name) => /\.(json|txt)$/.test(name)).sort()).toEqual([
    'config.json',
    'evaluations/vit/adapter_config.json',
    'evaluations/vit/config.json',
    'notes.txt',
    'set/adapter_config.json',
    'set/config.json',
    'vit/adapter_config.json',
    'vit/config.json',
  ]);
});

it('leaves a model its own evaluations, and live processes their temporaries', async () => {
  const temporary = `.adapter_model.safetensors.${process.pid}-0123abcd.partial`;
  await writeFile(at('set', 'evaluations', 'full.json'), '{"adapters":[]}');
  await writeFile(at('set', temporary), '');
  const { deleted } = await deleteSet(at('set'));
  expect([...deleted].sort()).toEqual([...OWN].sort());
  expect((await left(at('set'))).sort()).toEqual([temporary, 'evaluations', 'evaluations/full.json']);
});

it('follows no link out of the set, and deletes a set behind a link', async () => {
  await mkdir(at('elsewhere'));
  await writeFile(at('elsewhere', 'a.json'), 'a');
  await writeFile(at('weights'), 'w');
  await mkdir(at('linked'));
  await symlink(at('elsewhere'), at('linked', 'evaluations'));
  await symlink(at('weights'), at('linked', 'adapter_model.safetensors'));
  await writeFile(at('linked', 'adapter_config.json'), '{}');
  expect((await deleteSet(at('linked'))).kept).toEqual(['evaluations']);
  expect([await readFile(at('elsewhere', 'a.json'), 'utf8'), await readFile(at('weights'), 'utf8')]).toEqual([
    'a',
    'w',
  ]);
  await symlink('set', at('link'));
  await deleteSet(at('link'));
  expect((await readdir(at())).sort()).toEqual(['elsewhere', 'linked', 'weights']);
});

it('a folder without a set is left as it is', async () => {
  await mkdir(at('other'));
  await writeFile(at('other', 'sensitivity.json'), '');
  expect(await complaint(() => deleteSet(at('other')))).toMatch(/holds no adapter set/);
  expect(await complaint(() => deleteSet(at('none')))).toMatch(/no such file/);
  expect(await readdir(at('other'))).toEqual(['sensitivity.json']);
});

import { cp, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { CancelledError, UserError } from '../errors.js';
import { families } from '../models/registry.js';
import type { SupportedModel, UnsupportedModel } from '../protocol/protocol.js';
import { listModels } from './models.js';

let root: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(root, ...names);

const list = (folders: string[], signal = new AbortController().signal) => listModels(folders, signal);
const found = async (...names: string[]) =>
  (await list([at(...names)])).map(({ path }) => path.slice(root.length + 1).replaceAll('\\', '/'));

beforeAll(async () => {
  ({ folder: root, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('nested', 'b', 'vit'));
  await writeRandomModel(at('nested', 'a'));
  await writeRandomModel(at('nested', 'a', 'inner'));
});
afterAll(() => cleanUp());

describe('listModels', () => {
  it('describes a checkpoint', async () => {
    const [report] = await list([at('nested', 'b', 'vit')]);
    expect(report).toMatchObject({
      path: at('nested', 'b', 'vit'),
      name: 'vit',
      supported: true,
      family: 'vit',
      task: 'image-classification',
      blocks: 2,
      layers: 14,
    });
    const { bytes, parameters } = report as SupportedModel;
    expect(bytes).toBe(4 * parameters);
  });

  it('describes a language model', async () => {
    const path = fileURLToPath(new URL('../../samples/llama-speeches', import.meta.url));
    expect(await list([path])).toMatchObject([
      {
        name: 'llama-speeches',
        supported: true,
        family: 'llama',
        blocks: 6,
        layers: 43,
        parameters: 1369728,
      },
    ]);
  });

  it('finds them at any depth, also inside one another, in the order of their names', async () => {
    expect(await found('nested')).toEqual(['nested/a', 'nested/a/inner', 'nested/b/vit']);
    const both = await list([at('nested', 'b'), at('nested', 'a')]);
    expect(both.map((m) => m.name)).toEqual(['vit', 'a', 'inner']);
  });

  it('goes six folders deep, and passes over what holds no models', async () => {
    await writeRandomModel(at('deep', '1', '2', '3', '4', '5', '6'));
    await writeRandomModel(at('deep', '1', '2', '3', '4', '5', 'x', '7'));
    for (const name of ['node_modules', '.git', '.venv', '__pycache__'])
      await cp(at('nested', 'b', 'vit'), at('deep', name, 'vit'), { recursive: true });
    expect(await found('deep')).toEqual(['deep/1/2/3/4/5/6']);
  });

  it('follows no link to a folder, yet reads linked files', async () => {
    await mkdir(at('links', 'cache'), { recursive: true });
    await symlink(at('nested'), at('links', 'elsewhere'), 'junction');
    await symlink(at('links'), at('links', 'cache', 'circle'), 'junction');
    expect(await found('links')).toEqual([]);
    for (const name of ['config.json', 'model.safetensors'])
      await symlink(at('nested', 'a', name), at('links', 'cache', name));
    expect(await list([at('links')])).toMatchObject([{ name: 'cache', supported: true }]);
  });

  it.each<[string, object, string]>([
    [
      'family',
      { model_type: 'bert' },
      `other/config.json: "model_type" is "bert"; supported are ${families.map((f) => f.modelType).join(', ')}.`,
    ],
    [
      'shape',
      { hidden_size: 32 },
      'other: the tensor "vit.embeddings.patch_embeddings.projection.weight" has the shape [16, 1, 4, 4]; by config.json it is [32, 1, 4, 4].',
    ],
  ])('says why a checkpoint of another %s is not supported', async (_, change, reason) => {
    await cp(at('nested', 'b', 'vit'), at('other'), { recursive: true });
    await writeFile(at('other', 'config.json'), JSON.stringify({ ...TINY_VIT, ...change }));
    expect(await list([at('other')])).toEqual([
      { path: at('other'), name: 'other', supported: false, reason },
    ]);
  });

  it('goes on after a checkpoint that is broken', async () => {
    await cp(at('nested'), at('broken'), { recursive: true });
    await writeFile(at('broken', 'a', 'model.safetensors'), 'no weights');
    await writeFile(at('broken', 'a', 'inner', 'config.json'), '{');
    const reports = await list([at('broken')]);
    expect(reports.map((m) => [m.name, m.supported])).toEqual([['a', false], ['inner', false], ['vit', true]]); // prettier-ignore
    for (const report of reports.slice(0, 2))
      expect((report as UnsupportedModel).reason).toMatch(/safetensors|JSON/);
  });

  it('does not read weights that can run code, and says so', async () => {
    await writeRandomModel(at('pickles'));
    await rename(at('pickles', 'model.safetensors'), at('pickles', 'pytorch_model.bin'));
    const reason = 'pickles has no safetensors weights; other formats can run code and are not read.';
    expect(await list([at('pickles')])).toEqual([
      { path: at('pickles'), name: 'pickles', supported: false, reason },
    ]);
  });

  it('passes over folders with a configuration and no weights, or weights and no configuration', async () => {
    await cp(at('nested', 'a'), at('halves', 'weights'), { recursive: true });
    await rm(at('halves', 'weights', 'inner'), { recursive: true });
    await cp(at('halves', 'weights'), at('halves', 'configuration'), { recursive: true });
    await rm(at('halves', 'weights', 'config.json'));
    await rm(at('halves', 'configuration', 'model.safetensors'));
    expect(await found('halves')).toEqual([]);
  });

  it('refuses what is no folder', async () => {
    await expect(list([at('nowhere')])).rejects.toThrow(
      new UserError(`Cannot read ${at('nowhere')}: no such file or folder.`),
    );
    await expect(list([at('nested', 'a', 'config.json')])).rejects.toThrow(
      /config\.json is a file; models are/,
    );
  });

  it('says what a folder without checkpoints holds instead', async () => {
    await mkdir(at('converted'));
    await writeFile(at('converted', 'model.gguf'), 'GGUF');
    expect(await list([at('converted')])).toMatchObject([
      { path: at('converted'), supported: false, reason: expect.stringContaining('is GGUF') as string },
    ]);
  });

  it('stops when asked to', async () => {
    const stop = new AbortController();
    stop.abort();
    await expect(list([at('nested')], stop.signal)).rejects.toThrow(CancelledError);
  });
});

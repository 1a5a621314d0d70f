import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { existingFolders, foldersToSearch } from './folders.js';

const home = resolve('/home/me');
const workspace = [resolve('/folder a'), resolve('/folder-b')];
const search = (configured: string[], cache = false, env = {}) =>
  foldersToSearch({ workspace, configured, huggingFaceCache: cache }, { home, env });

describe('foldersToSearch', () => {
  it('begins with the workspace', () => {
    expect(search([])).toEqual(workspace);
  });

  it('takes absolute, home and relative paths, and drops what is empty', () => {
    const absolute = resolve('/models');
    expect(search([absolute, '~/checkpoints', '~', 'sub/folder', ' '])).toEqual([
      ...workspace,
      absolute,
      join(home, 'checkpoints'),
      home,
      join(workspace[0]!, 'sub', 'folder'),
    ]);
  });

  it('names a folder once', () => {
    expect(search([workspace[1]!, `${workspace[1]!}/`])).toEqual(workspace);
  });

  it('leaves out relative paths where no folder is open', () => {
    const settings = { workspace: [], configured: ['sub', '~/a'], huggingFaceCache: false };
    expect(foldersToSearch(settings, { home, env: {} })).toEqual([join(home, 'a')]);
  });

  it('finds the cache where the hub puts it', () => {
    const last = (env = {}) => search([], true, env).at(-1);
    expect(last()).toBe(join(home, '.cache', 'huggingface', 'hub'));
    expect(last({ XDG_CACHE_HOME: resolve('/x') })).toBe(resolve('/x/huggingface/hub'));
    expect(last({ HF_HOME: resolve('/hf') })).toBe(resolve('/hf/hub'));
    expect(last({ HF_HOME: '', HUGGINGFACE_HUB_CACHE: resolve('/old') })).toBe(resolve('/old'));
    expect(last({ HF_HOME: resolve('/hf'), HF_HUB_CACHE: resolve('/hub') })).toBe(resolve('/hub'));
  });
});

describe('existingFolders', () => {
  it('tells folders from files and from nothing', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'folders ü-'));
    try {
      const file = join(folder, 'file');
      await writeFile(file, '');
      const gone = join(folder, 'gone');
      expect(await existingFolders([gone, folder, file])).toEqual({ found: [folder], missing: [gone, file] });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copySamples, exists, sampleData } from './samples.js';

const root = join(import.meta.dirname, '..');
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'samples ü-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('samples', () => {
  it('have data for every task', async () => {
    for (const task of ['image-classification', 'text-generation'] as const)
      for (const purpose of ['calibration', 'evaluation'] as const)
        expect((await stat((await sampleData(root, task, purpose, []))!)).size).toBeGreaterThan(1000);
    expect(await sampleData(root, 'segmentation', 'evaluation', [])).toBeUndefined();
  });

  it('are copied with their data, and leave what is there alone', async () => {
    const target = await copySamples(root, folder);
    const config = join(target, 'vit-fashion', 'config.json');
    expect(JSON.parse(await readFile(config, 'utf8'))).toMatchObject({ model_type: 'vit' });
    expect(await exists(join(target, 'data', 'speeches', 'calibration.txt'))).toBe(true);
    const data = () => sampleData(root, 'text-generation', 'calibration', ['/none', folder]);
    expect(await data()).toBe(join(target, 'data/speeches/calibration.txt'));
    await rm((await data())!);
    expect(await data()).toBe(join(root, 'samples/data/speeches/calibration.txt'));
    await writeFile(config, 'mine');
    await copySamples(root, folder);
    expect(await readFile(config, 'utf8')).toBe('mine');
  });
});

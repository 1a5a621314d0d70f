import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { useTemporaryFolder } from '../formats/testing.js';
import { deviceOf, keepBest, knownDevice } from './known-rates.js';

const at = useTemporaryFolder();
beforeEach(() => void vi.stubEnv('XDG_CACHE_HOME', at('cache')));
afterEach(() => void vi.unstubAllEnvs());

const rates = { gflops: 50, gelements: 1, overhead: 1e-6 };
const processor = { kind: 'cpu', available: true, name: 'Some processor', ...rates } as const;
const none = { kind: 'cuda', available: false, reason: 'no driver' } as const;

it('the best that was ever measured counts, of each rate, and is kept', async () => {
  expect(await keepBest([processor, none])).toEqual([processor, none]);
  const busy = { ...processor, gflops: 20, gelements: 2, overhead: 5e-6 };
  const best = { ...processor, gelements: 2 };
  expect(await keepBest([busy])).toEqual([best]);
  expect(await keepBest([busy])).toEqual([best]);
  expect(await keepBest([{ ...busy, name: 'Another' }])).toMatchObject([{ gflops: 20 }]);
  expect(await keepBest([busy], 1)).toEqual([busy]);
});

it('a file that is damaged, or cannot be written, is in nobody’s way', async () => {
  await mkdir(at('cache', 'elastic-precision'), { recursive: true });
  const file = at('cache', 'elastic-precision', 'rates.json');
  for (const content of ['', '{', '{"devices": {"cpu": {"gflops": 0}}}', '[]']) {
    await writeFile(file, content);
    expect(await keepBest([processor])).toEqual([processor]);
    expect(await readFile(file, 'utf8')).toContain('Some processor');
  }
  await writeFile(at('file'), '');
  vi.stubEnv('XDG_CACHE_HOME', at('file'));
  expect(await keepBest([processor])).toEqual([processor]);
});

it('the processor is known once it was measured a few times', async () => {
  const own = { ...processor, name: cpus()[0]?.model.trim() ?? 'processor', gflops: 12345 };
  for (let i = 0; i < 5; i++) await keepBest([own], 1);
  const file = at('cache', 'elastic-precision', 'rates.json');
  const known = await readFile(file, 'utf8');
  expect(await knownDevice({ device: 'cpu', threads: 1 })).toEqual(own);
  expect(await readFile(file, 'utf8')).toBe(known);
});

it('a device is the fastest, or the one that is named, or refused with its reason', () => {
  const graphics = { ...processor, kind: 'webgpu', gflops: 500 } as const;
  expect(deviceOf('auto', [processor, graphics, none]).kind).toBe('webgpu');
  expect(deviceOf('cpu', [processor, graphics]).kind).toBe('cpu');
  expect(() => deviceOf('cuda', [processor, none])).toThrow('"cuda" is not available: no driver');
});

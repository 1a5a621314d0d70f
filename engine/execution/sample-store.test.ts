import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/fixtures.js';
import { createRandom } from '../data/random.js';
import { defaultCacheMemory, openSampleCache } from './sample-store.js';

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

const [SAMPLES, SIZE] = [9, 7];
const BYTES = SAMPLES * SIZE * 4;
const numbers = Float32Array.from({ length: SAMPLES * SIZE }, (_, i) => i + 0.5);
const all = [...Array(SAMPLES).keys()];
const sample = (s: number) => [...numbers.subarray(s * SIZE, (s + 1) * SIZE)];
const files = async () => (await readdir(folder)).filter((name) => name.startsWith('.activations.'));

describe.each([
  ['in memory', BYTES],
  ['partly on disk, the border inside a sample', Math.floor(BYTES / 2)],
  ['on disk', 0],
])('a store %s', (_where, limit) => {
  const filled = async () => {
    const cache = await openSampleCache(limit, folder);
    const store = cache.store(SAMPLES, SIZE);
    store.write(all, numbers);
    return { cache, store };
  };

  it('gives back every sample in the order asked for, some of them twice', async () => {
    const { cache, store } = await filled();
    const order = [3, 4, 5, 8, 0, 0, 7, 6, 1];
    const into = new Float32Array(order.length * SIZE);
    store.read(order, into);
    expect([...into]).toEqual(order.flatMap(sample));
    cache.close();
  });

  it('replaces the samples named and no others', async () => {
    const { cache, store } = await filled();
    store.write(
      [8, 2, 3],
      Float32Array.from([8, 2, 3].flatMap(sample), (x) => -x),
    );
    const into = new Float32Array(SAMPLES * SIZE);
    store.read(all, into);
    expect([...into]).toEqual(all.flatMap((s) => sample(s).map((x) => ([8, 2, 3].includes(s) ? -x : x))));
    cache.close();
  });

  it('gives any stretch of elements', async () => {
    const { cache, store } = await filled();
    const random = createRandom(0, 'spans');
    for (let i = 0; i < 50; i++) {
      const start = random.integer(SAMPLES * SIZE);
      const into = new Float32Array(random.integer(SAMPLES * SIZE - start + 1));
      store.readSpan(start, into);
      expect(into).toEqual(numbers.slice(start, start + into.length));
    }
    cache.close();
  });

  it('counts what it holds, and has a file only for what memory does not take', async () => {
    const { cache, store } = await filled();
    expect(cache.held.memory + cache.held.disk).toBe(BYTES);
    expect(cache.held.memory).toBeLessThanOrEqual(limit);
    expect(await files()).toHaveLength(limit < BYTES ? 1 : 0);
    store.release();
    store.release();
    expect(cache.held).toEqual({ memory: 0, disk: 0 });
    expect(await files()).toEqual([]);
  });
});

describe('a cache', () => {
  it('shares its limit among stores, and gives what one released to the next', async () => {
    const cache = await openSampleCache(BYTES + 8, folder);
    const [first] = [cache.store(SAMPLES, SIZE), cache.store(SAMPLES, SIZE)];
    expect(cache.held).toEqual({ memory: BYTES + 8, disk: BYTES - 8 });
    first.release();
    cache.store(SAMPLES, SIZE);
    expect(cache.held).toEqual({ memory: BYTES + 8, disk: BYTES - 8 });
    cache.close();
    expect(cache.held).toEqual({ memory: 0, disk: 0 });
    expect(await files()).toEqual([]);
  });

  it('removes what a killed process left', async () => {
    // No process has this number: it is above the highest that systems give.
    const left = join(folder, '.activations.2147483646-0a1b2c3d.partial');
    await writeFile(left, 'left');
    (await openSampleCache(0, folder)).close();
    expect(existsSync(left)).toBe(false);
  });

  it('takes the folder for temporary files where its own cannot be written', async () => {
    const blocked = join(folder, 'file');
    await writeFile(blocked, '');
    const cache = await openSampleCache(0, blocked);
    const store = cache.store(SAMPLES, SIZE);
    store.write(all, numbers);
    const into = new Float32Array(SIZE);
    store.read([4], into);
    expect([...into]).toEqual(sample(4));
    cache.close();
  });

  it('says how much the disk lacks', async () => {
    const cache = await openSampleCache(0, folder);
    expect(() => cache.store(1e9, 1e6)).toThrow(/ GB left for 4000000\.0 GB of activations/);
    cache.close();
  });
});

it('takes half of the free memory by default, never next to none', () => {
  expect(defaultCacheMemory(8e9)).toBe(4e9);
  expect(defaultCacheMemory(-5)).toBe(2 ** 28);
  expect(defaultCacheMemory()).toBeGreaterThanOrEqual(2 ** 28);
});

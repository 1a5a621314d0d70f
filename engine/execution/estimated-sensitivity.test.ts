import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { openCheckpoint } from '../models/checkpoint.js';
import { CancelledError } from '../errors.js';
import { estimateSensitivity } from './estimated-sensitivity.js';
import { meanDivergence } from './logit-divergence.js';
import { openSampleCache, samplesIn, type ModelInputs } from './sample-store.js';
import { measureSensitivity } from './sensitivity.js';
import { gridSource, normals, roundedSource, usePrograms, type GridSettings } from './testing.js';

const programs = usePrograms();
const BITS = [4, 6, 8];
const TOKENS = 6;

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'vit'), TINY_VIT);
  await writeRandomModel(join(folder, 'llama'), TINY_LLAMA);
});
afterAll(() => cleanUp());

const wideGrids: GridSettings = {
  activation: (_owner, bits) => ({ scale: 12 / 2 ** bits, zero: 2 ** (bits - 1) }),
};
const tokens: GridSettings = { activation: () => 'token' };

async function open(name: string, samples: number, settings?: GridSettings) {
  const isText = name === 'llama';
  const checkpoint = await openCheckpoint(join(folder, name), isText ? { tokens: TOKENS } : {});
  const source = settings
    ? gridSource(programs, checkpoint, BITS, settings)
    : roundedSource(programs, checkpoint, BITS);
  const data = isText
    ? BigInt64Array.from({ length: samples * TOKENS }, (_, i) => BigInt((i * i * 7 + 3 * i) % 11))
    : normals([samples, 64], 'pixels').data;
  const inputs = samplesIn(data as Float32Array, samples) as ModelInputs;
  return { checkpoint, task: { source, inputs, batch: 4, cache: await openSampleCache(Infinity), seed: 1 } };
}

type Task = Awaited<ReturnType<typeof open>>['task'];

async function estimated(task: Task, known: readonly (readonly number[])[] = []) {
  const costs = [...known];
  await estimateSensitivity(programs, task, known.length, {
    signal: new AbortController().signal,
    status: () => undefined,
    measured: (row) => Promise.resolve(void costs.push(row)),
  });
  expect(task.cache.held).toEqual({ memory: 0, disk: 0 });
  return costs;
}

async function measured(task: Task) {
  const costs: (readonly number[])[] = [];
  await measureSensitivity(programs, { ...task, distance: meanDivergence, keepBlocks: true }, 0, {
    signal: new AbortController().signal,
    status: () => undefined,
    measured: (row) => Promise.resolve(void costs.push(row)),
  });
  return costs;
}

describe('costs estimated by gradients', () => {
  it.each([
    ['vit', 'weights', undefined],
    ['vit', 'weights, inputs and operands on grids', wideGrids],
    ['llama', 'weights', undefined],
    ['llama', 'weights, and inputs per token', tokens],
  ] as const)('are those of running the model: %s, %s', async (name, _what, settings) => {
    const { checkpoint, task } = await open(name, 60, settings);
    const [found, expected] = [(await estimated(task)).reverse(), await measured(task)];
    expect(found).toHaveLength(expected.length);
    const logs = expected.flatMap((row, l) => row.map((cost, b) => Math.log(found[l]![b]! / cost)));
    const mean = logs.reduce((sum, x) => sum + x, 0) / logs.length;
    const spread = Math.sqrt(logs.reduce((sum, x) => sum + (x - mean) ** 2, 0) / logs.length);
    // Of 16 features and one random direction per sample.
    expect(Math.abs(mean)).toBeLessThan(0.2);
    expect(spread).toBeLessThan(0.45);
    await checkpoint.close();
  });

  it('are the same where the last layers are known, and in batches that samples do not fill', async () => {
    const { checkpoint, task } = await open('llama', 7);
    const all = await estimated(task);
    for (const known of [1, 7, all.length - 1, all.length])
      expect(await estimated(task, all.slice(0, known))).toEqual(all);
    const one = await estimated({ ...task, batch: 1 });
    for (const [l, row] of one.entries())
      for (const [b, cost] of row.entries()) expect(cost / all[l]![b]!).toBeCloseTo(1, 3);
    await checkpoint.close();
  });

  it('stop when they are cancelled', async () => {
    const { checkpoint, task } = await open('vit', 8);
    const stop = new AbortController();
    const hooks = {
      signal: stop.signal,
      status: () => undefined,
      measured: () => Promise.resolve(stop.abort()),
    };
    await expect(estimateSensitivity(programs, task, 0, hooks)).rejects.toThrow(CancelledError);
    expect(task.cache.held).toEqual({ memory: 0, disk: 0 });
    await checkpoint.close();
  });
});

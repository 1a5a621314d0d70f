import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { openSampleCache, samplesIn, type ModelInputs } from './sample-store.js';
import { klDivergence } from '../divergence.js';
import { CancelledError } from '../errors.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { headOf } from '../models/model.js';
import { layerNames } from './model.js';
import { openElasticModel } from './quantized-model.js';
import { meanDivergence } from './logit-divergence.js';
import { measureSensitivity, savedWork, type SensitivityTask } from './sensitivity.js';
import { gridSource, normals, roundedSource, usePrograms } from './testing.js';

const programs = usePrograms();
const BITS = [2, 4, 8];
const SAMPLES = 5;

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'vit'), TINY_VIT);
  await writeRandomModel(join(folder, 'llama'), TINY_LLAMA);
});
afterAll(() => cleanUp());

async function open(name: string) {
  const isText = name === 'llama';
  const checkpoint = await openCheckpoint(join(folder, name), isText ? { tokens: 6 } : {});
  const source = (isText ? roundedSource : gridSource)(programs, checkpoint, BITS);
  const data = isText
    ? BigInt64Array.from({ length: SAMPLES * 6 }, (_, i) => BigInt((i * 7) % 11))
    : normals([SAMPLES, 64], 'pixels').data;
  return { checkpoint, source, data };
}

async function taskOf(
  { source, data }: Awaited<ReturnType<typeof open>>,
  keepBlocks = true,
): Promise<SensitivityTask> {
  return {
    source,
    inputs: samplesIn(data as Float32Array, SAMPLES) as ModelInputs,
    batch: 2,
    cache: await openSampleCache(0),
    distance: meanDivergence,
    keepBlocks,
  };
}

async function measure(task: SensitivityTask, known: readonly (readonly number[])[] = []) {
  const costs = [...known];
  const shares: number[] = [];
  await measureSensitivity(programs, task, known.length, {
    signal: new AbortController().signal,
    status: (done) => shares.push(done),
    measured: (row) => Promise.resolve(void costs.push(row)),
  });
  expect(shares.at(-1)).toBeCloseTo(1, 9);
  expect(task.cache.held).toEqual({ memory: 0, disk: 0 });
  return costs;
}

/** Layer by layer and bit by bit through the whole model, in float64 where numbers are summed. */
async function plainly({ checkpoint, source, data }: Awaited<ReturnType<typeof open>>) {
  const model = await openElasticModel(programs, source);
  const inputs = programs.runtime.tensor(data, checkpoint.model.stem.inputShape(SAMPLES));
  const logits = async (widths: (name: string) => number | undefined) => {
    await model.use(widths);
    return (await model.run(inputs, SAMPLES)).slice();
  };
  const full = await logits(() => undefined);
  const { rows, outputs: classes } = headOf(checkpoint.model);
  const costs: number[][] = [];
  for (const layer of layerNames(checkpoint)) {
    costs.push([]);
    for (const bits of BITS) {
      const own = await logits((name) => (name === layer ? bits : undefined));
      let sum = 0;
      for (let row = 0; row < SAMPLES * rows; row++) {
        const span = [row * classes, (row + 1) * classes] as const;
        sum += klDivergence(full.subarray(...span), own.subarray(...span));
      }
      costs.at(-1)!.push(sum / (SAMPLES * rows));
    }
  }
  model.dispose();
  return costs;
}

describe.each(['vit', 'llama'])('the sensitivity of a %s', (name) => {
  it('is that of running the whole model for each', async () => {
    const setting = await open(name);
    const [found, expected] = [await measure(await taskOf(setting)), await plainly(setting)];
    expect(found.length).toBe(expected.length);
    for (const [l, row] of expected.entries())
      for (const [b, cost] of row.entries())
        expect(Math.abs(found[l]![b]! - cost)).toBeLessThan(1e-6 + 1e-3 * cost);
    expect(Math.min(...expected.map((row) => row[0]!))).toBeGreaterThan(1e-5);
    await setting.checkpoint.close();
  });

  it('has the same bits resumed, and with one block in memory', async () => {
    const setting = await open(name);
    const all = await measure(await taskOf(setting));
    for (const known of [1, all.length - 1, all.length])
      expect(await measure(await taskOf(setting), all.slice(0, known))).toEqual(all);
    expect(await measure(await taskOf(setting, false))).toEqual(all);
    await setting.checkpoint.close();
  });
});

it('stops when it is cancelled', async () => {
  const setting = await open('vit');
  const stop = new AbortController();
  const hooks = {
    signal: stop.signal,
    status: () => undefined,
    measured: () => Promise.resolve(stop.abort()),
  };
  await expect(measureSensitivity(programs, await taskOf(setting), 0, hooks)).rejects.toThrow(CancelledError);
  await setting.checkpoint.close();
});

it('saves the more the more blocks lie before', () => {
  const checkpointOf = (blocks: number) => {
    const part = {
      kind: 'block',
      prefix: '',
      inputShape: () => [4, 8],
      outputShape: () => [4, 8],
      forward: (b: never, x: never) => forward(b, x, 8),
    };
    const one = { ...part, kind: 'stem' };
    const head = { ...part, kind: 'head', forward: (b: never, x: never) => forward(b, x, 2) };
    const model = {
      task: 'image-classification',
      stem: one,
      blocks: Array<unknown>(blocks).fill(part),
      head,
    };
    return { model, listing: () => ({ linears: [{}] }) } as unknown as Checkpoint;
  };
  const forward = (b: { linear(name: string, x: unknown, out: number): never }, x: unknown, out: number) =>
    b.linear('layer', x, out);
  const [few, many] = [savedWork(checkpointOf(2), 7), savedWork(checkpointOf(24), 7)];
  expect(many).toBeGreaterThan(few);
  expect(many).toBeGreaterThan(0.4);
  expect(many).toBeLessThan(0.55);
});

/** A model with post-norm blocks and stages of different size goes through everything that runs and quantizes models. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImages } from '../engine/data/images.js';
import { readPreprocessor } from '../engine/data/preprocessor.js';
import { CancelledError } from '../engine/errors.js';
import { evaluateClassifier } from '../engine/evaluation/pictures.js';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { layerNames, openPlainModel } from '../engine/execution/model.js';
import { passBlocks, plainParts } from '../engine/execution/part-by-part.js';
import { openElasticModel, tensorsOf } from '../engine/execution/quantized-model.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import { measureSensitivity, savedWork } from '../engine/execution/sensitivity.js';
import { readAdapterSet } from '../engine/formats/adapter-set.js';
import { quantizeModel } from '../engine/methods/gptq/model.js';
import { openWeightFiles } from '../engine/methods/gptq/weight-files.js';
import { calibrate } from '../engine/methods/quept/calibrate.js';
import { calibrationCost } from '../engine/methods/quept/cost.js';
import { bitGroups, DEFAULT_TEXT, DEFAULT_VIT, type QueptOptions } from '../engine/methods/quept/options.js';
import { normals, usePrograms } from '../engine/methods/quept/testing.js';
import { roundToNearest } from '../engine/methods/rounding/rounding.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { headOf } from '../engine/models/model.js';
import { smoothingSites } from '../engine/transforms/smooth.js';
import { temporaryFolder, writeRandomModel, writeRandomPictures } from './fixtures.js';
import { stages, TINY_STAGES } from './stages.js';
import { maxDifference } from './support.js';

const programs = usePrograms();
const { signal } = new AbortController();
const SAMPLES = 10;
const small = {
  groups: bitGroups([[7, 8], [4]], 2),
  mergeWeights: [0.5, 0.5],
  samples: SAMPLES,
  epochs: 2,
  batch: 4,
  embeddingBits: 16,
  headBits: 16,
};
const RECIPES: readonly (readonly [string, QueptOptions])[] = [
  ['weights and activations', { ...DEFAULT_VIT, ...small }],
  ['weights and activations, streams merged', { ...DEFAULT_VIT, ...small, merge: 'selective' }],
  ['weights alone', { ...DEFAULT_TEXT, ...small }],
];

let folder: string;
let cleanUp: () => Promise<void>;
let checkpoint: Checkpoint;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'model'), TINY_STAGES, 1, [stages]);
  checkpoint = await openCheckpoint(join(folder, 'model'), {}, [stages]);
});
afterAll(async () => {
  await checkpoint.close();
  await cleanUp();
});

const pixels = normals([SAMPLES, 64], 'pixels').data;
const inputs = samplesIn(pixels, SAMPLES);

/** @param stopAt cancelled as soon as this block has begun */
async function calibrated(options: QueptOptions, name: string, { stopAt = Infinity, resume = false } = {}) {
  const stop = new AbortController();
  const cache = await openSampleCache(Infinity);
  const out = join(folder, name);
  const set = { inputs, name: 'noise', fingerprint: 'a'.repeat(64) };
  await calibrate(
    programs,
    { checkpoint, set, options, out, resume, cache, engineVersion: '0' },
    {
      signal: stop.signal,
      status: ({ block, epoch }) => void (block >= stopAt && epoch > 0 && stop.abort()),
    },
  );
  expect(cache.held).toEqual({ memory: 0, disk: 0 });
  return readAdapterSet(out);
}

async function logitsOf(model: Awaited<ReturnType<typeof openPlainModel>>) {
  const x = programs.runtime.tensor(pixels, [SAMPLES, 1, 8, 8]);
  return (await model.run(x, SAMPLES)).slice();
}

describe.each(RECIPES)('calibrated in %s', (name, options) => {
  it('is the same function where nothing is quantized, and closer to it at 8 bits than at 4', async () => {
    const plain = await openPlainModel(programs, checkpoint);
    const elastic = await openElasticModel(programs, checkpoint, await calibrated(options, name));
    const full = await logitsOf(plain);
    await elastic.use(() => undefined);
    expect(maxDifference(await logitsOf(elastic), full)).toBeLessThan(2e-5);
    const differenceAt = async (bits: number) => {
      await elastic.use(bits);
      return maxDifference(await logitsOf(elastic), full);
    };
    expect(await differenceAt(8)).toBeGreaterThan(1e-4);
    expect(await differenceAt(8)).toBeLessThan((await differenceAt(4)) / 2);
    plain.dispose();
    elastic.dispose();
  });

  it('is the same where it was cancelled behind a change of size and went on', async () => {
    const resumed = `${name}, resumed`;
    await expect(calibrated(options, resumed, { stopAt: 2 })).rejects.toThrow(CancelledError);
    const { tensors } = await calibrated(options, resumed, { resume: true });
    const whole = (await readAdapterSet(join(folder, name))).tensors;
    expect([...tensors.keys()]).toEqual([...whole.keys()]);
    for (const [key, { data }] of tensors) expect(data, key).toEqual(whole.get(key)!.data);
  });
});

it('has no norm folded whose output the stream goes on with', async () => {
  const listings = checkpoint.model.blocks.map((part) => checkpoint.listing(part));
  expect(listings.map(({ norms }) => norms.map(({ foldable }) => foldable))).toEqual([
    [false, false],
    [true],
    [false, false],
    [false, false],
  ]);
  const [usual, merging] = checkpoint.model.blocks;
  expect(smoothingSites(usual!, listings[0]!)).toEqual([]);
  expect(smoothingSites(merging!, listings[1]!)).toMatchObject([{ absorber: { norm: 'norm' } }]);
  const { config } = await readAdapterSet(join(folder, RECIPES[0]![0]));
  expect(config.norms).toEqual({ 'stages.blocks.1.norm': 32 });
});

it('has sensitivities: those of running the whole model with one layer quantized', async () => {
  const { config, tensors } = await readAdapterSet(join(folder, RECIPES[0]![0]));
  const cache = await openSampleCache(0);
  const costs: (readonly number[])[] = [];
  const task = {
    ...{ checkpoint, config, inputs, cache, bits: [4], batch: 4, keepBlocks: false },
    adaptersOf: (part: Parameters<typeof tensorsOf>[1]) => tensorsOf(tensors, part),
  };
  const shares: number[] = [];
  await measureSensitivity(programs, task, 0, {
    signal,
    status: (done) => shares.push(done),
    measured: (row) => Promise.resolve(void costs.push(row)),
  });
  expect(shares.at(-1)).toBeCloseTo(1, 9);
  expect(cache.held).toEqual({ memory: 0, disk: 0 });

  const names = layerNames(checkpoint);
  const elastic = await openElasticModel(programs, checkpoint, { config, tensors });
  const storeAt = async (use: (name: string) => number | undefined) => {
    await elastic.use(use);
    return passBlocks(programs, checkpoint.model, elastic.open, inputs, cache, SAMPLES, { signal });
  };
  const head = await plainParts(programs, checkpoint)(checkpoint.model.head);
  const reference = await storeAt(() => undefined);
  for (const [i, name] of names.entries()) {
    const store = await storeAt((other) => (other === name ? 4 : undefined));
    const cost = await meanDivergence(
      programs,
      checkpoint.model,
      { head, store: reference },
      { head, store },
      signal,
    );
    expect(Math.abs(costs[i]![0]! - cost), name).toBeLessThan(1e-6 + 1e-3 * cost);
    store.release();
  }
  reference.release();
  head.dispose();
  elastic.dispose();
  expect(savedWork(checkpoint, 1)).toBeGreaterThan(0);
});

it('is evaluated beside rounding', async () => {
  const data = await writeRandomPictures(join(folder, 'pictures'), 20);
  const [source, preprocessor] = [
    await openImages(data),
    await readPreprocessor(checkpoint.folder, { channels: 1, imageSize: 8 }),
  ];
  const rounding = await roundToNearest(programs, checkpoint, pixels, SAMPLES, [8, 4]);
  const set = await readAdapterSet(join(folder, RECIPES[0]![0]));
  const candidates = await Promise.all(
    [rounding, set].map(async (adapters, i) => ({
      ...{ label: String(i), kind: 'adapters' as const, bits: 8, bytes: 1 },
      model: await openElasticModel(programs, checkpoint, adapters),
    })),
  );
  const rows = await evaluateClassifier(
    programs.runtime,
    checkpoint,
    await openPlainModel(programs, checkpoint),
    candidates,
    { source, indices: [...Array(20).keys()], preprocessor },
    { signal, status: () => undefined },
  );
  expect(rows.map(({ samples }) => samples)).toEqual([20, 20, 20]);
  for (const { kl } of rows.slice(1)) {
    expect(kl).toBeGreaterThan(0);
    expect(kl).toBeLessThan(0.01);
  }
});

it('is quantized by GPTQ', async () => {
  const cache = await openSampleCache(Infinity);
  const grid = { bits: 8, groupSize: -1 };
  const files = openWeightFiles(folder, grid);
  const hooks = { signal, status: () => undefined, note: () => undefined };
  const open = (await quantizeModel(programs, checkpoint, inputs, grid, cache, files, hooks))(checkpoint);
  const run = async (parts: typeof open) => ({
    store: await passBlocks(programs, checkpoint.model, parts, inputs, cache, 4, { signal }),
    head: await parts(checkpoint.model.head),
  });
  const [p, q] = [await run(plainParts(programs, checkpoint)), await run(open)];
  const divergence = await meanDivergence(programs, checkpoint.model, p, q, signal);
  expect(divergence).toBeGreaterThan(0);
  expect(divergence).toBeLessThan(1e-3);
  await files.remove();
});

it('costs what its parts hold', () => {
  const options = RECIPES[0]![1];
  const { activations } = calibrationCost(checkpoint, options, SAMPLES);
  // Three stores of 16 tokens of 8 channels, one of which is being replaced by 4 tokens of 16.
  expect(activations).toBe(SAMPLES * 4 * (64 + 3 * 128 + 64));
  expect(headOf(checkpoint.model)).toEqual({ size: 4 * 16, rows: 1, outputs: 6 });
});

/** A model with post-norm blocks and stages of different size goes through everything that runs and quantizes models. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImages } from '../engine/data/images.js';
import { readPreprocessor } from '../engine/data/preprocessor.js';
import { CancelledError } from '../engine/errors.js';
import { evaluateClassifier } from '../engine/evaluation/pictures.js';
import { meanDivergence, type HeadInputs } from '../engine/execution/logit-divergence.js';
import { layerNames, openPlainModel, type RunnableModel } from '../engine/execution/model.js';
import { passBlocks, plainParts } from '../engine/execution/part-by-part.js';
import { openElasticModel, tensorsOf } from '../engine/execution/quantized-model.js';
import { openSampleCache, samplesIn, type ModelInputs } from '../engine/execution/sample-store.js';
import { measureSensitivity, savedWork } from '../engine/execution/sensitivity.js';
import { readAdapterSet } from '../engine/formats/adapter-set.js';
import { quantizeModel } from '../engine/methods/gptq/model.js';
import { openWeightFiles } from '../engine/methods/gptq/weight-files.js';
import { calibrate } from '../engine/methods/quept/calibrate.js';
import { calibrationCost } from '../engine/methods/quept/cost.js';
import { bitGroups, DEFAULT_TEXT, DEFAULT_VIT, type QueptOptions } from '../engine/methods/quept/options.js';
import { normals, usePrograms } from '../engine/methods/quept/testing.js';
import { roundToNearest } from '../engine/methods/rounding/rounding.js';
import { openCheckpoint, type Checkpoint, type HostTensor } from '../engine/models/checkpoint.js';
import { headOf } from '../engine/models/model.js';
import { smoothingSites } from '../engine/transforms/smooth.js';
import { temporaryFolder, writeRandomModel, writeRandomPictures } from './fixtures.js';
import { stages, TIME, TINY_STAGES } from './stages.js';
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
const KINDS = {
  usual: { config: TINY_STAGES, side: {} },
  conditioned: {
    config: { ...TINY_STAGES, conditioned: true },
    side: {
      condition: normals([SAMPLES, 3], 'condition'),
      // A third of the tokens are hidden, others in every sample.
      mask: maskOf((sample, token) => (sample + token) % 3 === 0),
    },
  },
  'with towers': {
    config: { ...TINY_STAGES, towers: true },
    side: { [TIME]: normals([SAMPLES, 3], 'time') },
  },
} satisfies Record<string, { config: object; side: Readonly<Record<string, HostTensor>> }>;
type Kind = keyof typeof KINDS;
const kinds = Object.keys(KINDS) as Kind[];

const RECIPES: readonly (readonly [Kind, string, QueptOptions])[] = kinds.flatMap((kind) => [
  [kind, 'weights and activations', { ...DEFAULT_VIT, ...small }],
  [kind, 'weights and activations, streams merged', { ...DEFAULT_VIT, ...small, merge: 'selective' }],
  [kind, 'weights alone', { ...DEFAULT_TEXT, ...small }],
]);
const [USUAL] = RECIPES as [(typeof RECIPES)[0]];

let folder: string;
let cleanUp: () => Promise<void>;
const checkpoints = new Map<Kind, Checkpoint>();
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  for (const kind of kinds) {
    await writeRandomModel(join(folder, kind), KINDS[kind].config, 1, [stages]);
    checkpoints.set(kind, await openCheckpoint(join(folder, kind), {}, [stages]));
  }
});
afterAll(async () => {
  for (const checkpoint of checkpoints.values()) await checkpoint.close();
  await cleanUp();
});

function maskOf(isHidden: (sample: number, token: number) => boolean): HostTensor {
  const data = Float32Array.from({ length: SAMPLES * 16 }, (_, i) =>
    isHidden(Math.floor(i / 16), i % 16) ? -1e9 : 0,
  );
  return { shape: [SAMPLES, 16], data };
}

const pixels = normals([SAMPLES, 64], 'pixels').data;
const sideOf = (kind: Kind) => Object.entries<HostTensor>(KINDS[kind].side);
const inputsOf = (kind: Kind): ModelInputs => ({
  ...samplesIn(pixels, SAMPLES),
  side: new Map(sideOf(kind).map(([name, { data }]) => [name, samplesIn(data, SAMPLES)])),
});

const folderOf = (kind: Kind, recipe: string) => join(folder, `${kind} in ${recipe}`);

/** @param stopAt cancelled as soon as this block has begun */
async function calibrated(
  [kind, recipe, options]: (typeof RECIPES)[0],
  { stopAt = Infinity, resume = false, out = folderOf(kind, recipe) } = {},
) {
  const stop = new AbortController();
  const cache = await openSampleCache(Infinity);
  const set = { inputs: inputsOf(kind), name: 'noise', fingerprint: 'a'.repeat(64) };
  await calibrate(
    programs,
    { checkpoint: checkpoints.get(kind)!, set, options, out, resume, cache, engineVersion: '0' },
    {
      signal: stop.signal,
      status: ({ block, epoch }) => void (block >= stopAt && epoch > 0 && stop.abort()),
    },
  );
  expect(cache.held).toEqual({ memory: 0, disk: 0 });
  return readAdapterSet(out);
}

async function logitsOf(model: RunnableModel, kind: Kind) {
  const { runtime } = programs;
  const side = sideOf(kind).map(([name, { data, shape }]) => [name, runtime.tensor(data, shape)] as const);
  const x = runtime.tensor(pixels, [SAMPLES, 1, 8, 8]);
  return (await model.run(x, SAMPLES, Object.fromEntries(side))).slice();
}

describe.each(RECIPES)('%s, calibrated in %s', (...recipe) => {
  const [kind, name] = recipe;
  it('is the same function where nothing is quantized, and closer to it at 8 bits than at 4', async () => {
    const checkpoint = checkpoints.get(kind)!;
    const plain = await openPlainModel(programs, checkpoint);
    const elastic = await openElasticModel(programs, checkpoint, await calibrated(recipe));
    const full = await logitsOf(plain, kind);
    await elastic.use(() => undefined);
    expect(maxDifference(await logitsOf(elastic, kind), full)).toBeLessThan(2e-5);
    const differenceAt = async (bits: number) => {
      await elastic.use(bits);
      return maxDifference(await logitsOf(elastic, kind), full);
    };
    expect(await differenceAt(8)).toBeGreaterThan(1e-4);
    expect(await differenceAt(8)).toBeLessThan((await differenceAt(4)) / 2);
    plain.dispose();
    elastic.dispose();
  });

  it('is the same where it was cancelled behind a change of size and went on', async () => {
    const out = folderOf(kind, `${name}, resumed`);
    await expect(calibrated(recipe, { out, stopAt: 2 })).rejects.toThrow(CancelledError);
    const { tensors } = await calibrated(recipe, { out, resume: true });
    const whole = (await readAdapterSet(folderOf(kind, name))).tensors;
    expect([...tensors.keys()]).toEqual([...whole.keys()]);
    for (const [key, { data }] of tensors) expect(data, key).toEqual(whole.get(key)!.data);
  });
});

it('has no norm folded whose output the stream goes on with', async () => {
  const checkpoint = checkpoints.get('usual')!;
  const { model } = checkpoint;
  const listings = model.blocks.map((part) => checkpoint.listing(part));
  expect(listings.map(({ norms }) => norms.map(({ foldable }) => foldable))).toEqual([
    [false, false],
    [true],
    [false, false],
    [false, false],
  ]);
  const [usual, merging] = model.blocks;
  expect(smoothingSites(usual!, listings[0]!)).toEqual([]);
  expect(smoothingSites(merging!, listings[1]!)).toMatchObject([{ absorber: { norm: 'norm' } }]);
  const { config } = await readAdapterSet(folderOf(USUAL[0], USUAL[1]));
  expect(config.norms).toEqual({ 'stages.blocks.1.norm': 32 });
});

it.each(['conditioned', 'with towers'] as const)('%s: reads what feeds it beside pictures', async (kind) => {
  const plain = await openPlainModel(programs, checkpoints.get(kind)!);
  const logits = await logitsOf(plain, kind);
  for (const [, { data }] of sideOf(kind)) {
    const before = data.slice();
    data.fill(0);
    expect(maxDifference(await logitsOf(plain, kind), logits)).toBeGreaterThan(1e-3);
    data.set(before);
  }
  const x = programs.runtime.tensor(pixels, [SAMPLES, 1, 8, 8]);
  await expect(plain.run(x, SAMPLES)).rejects.toThrow(/nothing feeds "(condition|time)"/);
  plain.dispose();
});

it.each(kinds)(
  '%s: has sensitivities, those of running the whole model with one layer quantized',
  async (kind) => {
    const checkpoint = checkpoints.get(kind)!;
    const inputs = inputsOf(kind);
    const { config, tensors } = await readAdapterSet(folderOf(kind, USUAL[1]));
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
      const pair = [reference, store].map((own) => ({ head, store: own })) as [HeadInputs, HeadInputs];
      const cost = await meanDivergence(programs, checkpoint.model, ...pair, signal);
      expect(Math.abs(costs[i]![0]! - cost), name).toBeLessThan(1e-6 + 1e-3 * cost);
      store.release();
    }
    reference.release();
    head.dispose();
    elastic.dispose();
    expect(savedWork(checkpoint, 1)).toBeGreaterThan(0);
  },
);

it.each(kinds)('%s: is quantized by GPTQ', async (kind) => {
  const checkpoint = checkpoints.get(kind)!;
  const inputs = inputsOf(kind);
  const cache = await openSampleCache(Infinity);
  const grid = { bits: 8, groupSize: -1 };
  const files = openWeightFiles(folder, grid);
  const hooks = { signal, status: () => undefined, note: () => undefined };
  const open = (await quantizeModel(programs, checkpoint, inputs, grid, cache, files, hooks))(checkpoint);
  expect(cache.held.memory).toBe(0);
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

it('is evaluated beside rounding', async () => {
  const checkpoint = checkpoints.get('usual')!;
  const data = await writeRandomPictures(join(folder, 'pictures'), 20);
  const [source, preprocessor] = [
    await openImages(data),
    await readPreprocessor(checkpoint.folder, { channels: 1, imageSize: 8 }),
  ];
  const rounding = await roundToNearest(programs, checkpoint, pixels, SAMPLES, [8, 4]);
  const set = await readAdapterSet(folderOf(USUAL[0], USUAL[1]));
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

it('costs what its parts hold', () => {
  const [, , options] = USUAL;
  const checkpoint = checkpoints.get('usual')!;
  const { activations } = calibrationCost(checkpoint, options, SAMPLES);
  // Three stores of 16 tokens of 8 channels, one of which is being replaced by 4 tokens of 16.
  expect(activations).toBe(SAMPLES * 4 * (64 + 3 * 128 + 64));
  expect(headOf(checkpoint.model)).toEqual({ size: 4 * 16, rows: 1, outputs: 6 });
  const towers = calibrationCost(checkpoints.get('with towers')!, options, SAMPLES).activations;
  // Beside them the time, and what both towers yield, in full precision and for each of two bit groups.
  expect(towers - activations).toBe(SAMPLES * 4 * (3 + 3 * (3 + 64)));
});

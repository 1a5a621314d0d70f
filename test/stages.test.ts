/** A model with post-norm blocks and stages of different size goes through everything that runs and quantizes models. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImages } from '../engine/data/images.js';
import { readPreprocessor } from '../engine/data/preprocessor.js';
import { CancelledError } from '../engine/errors.js';
import { evaluateClassifier } from '../engine/evaluation/pictures.js';
import { meanDivergence, type HeadInputs } from '../engine/execution/logit-divergence.js';
import { layerNames, openPlainModel, type RunnableModel } from '../engine/execution/model.js';
import { passBlocks, plainParts, type OpenPart } from '../engine/execution/part-by-part.js';
import { openElasticModel, quantizedParts } from '../engine/execution/quantized-model.js';
import { openSampleCache, samplesIn, type ModelInputs } from '../engine/execution/sample-store.js';
import { measureSensitivity, savedWork } from '../engine/execution/sensitivity.js';
import { calibrate } from '../engine/methods/calibrate.js';
import type { AnyMethod, CommonSettings } from '../engine/methods/method.js';
import { calibrationCost } from '../engine/methods/quept/cost.js';
import { bitGroups, DEFAULT_TEXT, DEFAULT_VIT, type QueptOptions } from '../engine/methods/quept/options.js';
import { quept } from '../engine/methods/quept/method.js';
import { contentsOf, normals, usePrograms } from '../engine/execution/testing.js';
import { methods } from '../engine/methods/registry.js';
import { openAdapterSet, openSource, type AdapterSet } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint, type HostTensor } from '../engine/models/checkpoint.js';
import { headOf, type Model, type VisionModel } from '../engine/models/model.js';
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

interface Interruption {
  /** Cancelled as soon as this block has an epoch behind it. */
  readonly stopAt?: number;
  readonly resume?: boolean;
  readonly out?: string;
}

async function calibratedBy(
  method: AnyMethod,
  settings: CommonSettings,
  kind: Kind,
  name: string,
  { stopAt = Infinity, resume = false, out = folderOf(kind, name) }: Interruption = {},
): Promise<AdapterSet> {
  const stop = new AbortController();
  const cache = await openSampleCache(Infinity);
  const set = { inputs: inputsOf(kind), name: 'noise', fingerprint: 'a'.repeat(64) };
  const checkpoint = checkpoints.get(kind)!;
  const request = {
    checkpoint,
    method,
    settings,
    out,
    resume,
    cache,
    engineVersion: '0',
    distance: meanDivergence,
  };
  await calibrate(programs, settings.samples > 0 ? { ...request, set } : request, {
    signal: stop.signal,
    status: ({ place = 0, series }) => void (place >= stopAt && series && stop.abort()),
    note: () => undefined,
  });
  expect(cache.held).toEqual({ memory: 0, disk: 0 });
  return reopened(out);
}

const calibrated = ([kind, recipe, options]: (typeof RECIPES)[0], interruption?: Interruption) =>
  calibratedBy(
    quept,
    { ...options, offered: options.groups.flatMap(({ bits }) => bits).sort((a, b) => b - a) },
    kind,
    recipe,
    interruption,
  );

const sets: AdapterSet[] = [];
afterAll(async () => {
  for (const set of sets) await set.close();
});
async function reopened(out: string): Promise<AdapterSet> {
  const set = await openAdapterSet(out);
  sets.push(set);
  return set;
}
const sourceOf = (kind: Kind, set: AdapterSet) => openSource(programs, checkpoints.get(kind)!, set);

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
    const elastic = await openElasticModel(programs, sourceOf(kind, await calibrated(recipe)));
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
    const tensorsOf = (set: AdapterSet) => set.tensors.floats('');
    const tensors = await tensorsOf(await calibrated(recipe, { out, resume: true }));
    const whole = await tensorsOf(await reopened(folderOf(kind, name)));
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
  const { config } = await reopened(folderOf(USUAL[0], USUAL[1]));
  expect(config.transforms).toEqual([{ name: 'rescaling', norms: { 'stages.blocks.1.norm': 32 } }]);
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
    const source = sourceOf(kind, await reopened(folderOf(kind, USUAL[1])));
    const cache = await openSampleCache(0);
    const costs: (readonly number[])[] = [];
    const task = { source, inputs, cache, batch: 4, keepBlocks: false, distance: meanDivergence };
    const shares: number[] = [];
    await measureSensitivity(programs, task, 0, {
      signal,
      status: (done) => shares.push(done),
      measured: (row) => Promise.resolve(void costs.push(row)),
    });
    expect(shares.at(-1)).toBeCloseTo(1, 9);
    expect(cache.held).toEqual({ memory: 0, disk: 0 });

    const names = layerNames(checkpoint);
    const elastic = await openElasticModel(programs, source);
    const storeAt = async (use: (name: string) => number | undefined) => {
      await elastic.use(use);
      const { model } = source.checkpoint;
      return passBlocks(programs, model, elastic.open, inputs, { cache, batch: SAMPLES, signal });
    };
    const head = await plainParts(programs, checkpoint)(checkpoint.model.head);
    const reference = await storeAt(() => undefined);
    expect(source.offered).toEqual([4, 7, 8]);
    for (const [i, name] of names.entries())
      for (const [b, bits] of source.offered.entries()) {
        const store = await storeAt((other) => (other === name ? bits : undefined));
        const pair = [reference, store].map((own) => ({ head, store: own })) as [HeadInputs, HeadInputs];
        const cost = await meanDivergence(programs, checkpoint.model, ...pair, signal);
        expect(Math.abs(costs[i]![b]! - cost), name).toBeLessThan(1e-6 + 1e-3 * cost);
        store.release();
      }
    reference.release();
    head.dispose();
    elastic.dispose();
    expect(savedWork(checkpoint, 1)).toBeGreaterThan(0);
  },
);

/** What trains for long by default, for short: that is not at issue here. */
const BRIEF: Readonly<Record<string, object>> = { sliderquant: { epochs: 2, fill: 2 } };

/** Sets of a method in each of its modes that offer 8 and 4 bits. */
const setsOf = async (method: AnyMethod, kind: Kind) => {
  const checkpoint = checkpoints.get(kind)!;
  const made = [];
  for (const mode of method.modes(checkpoint)) {
    const common = { mode, bits: [8, 4] };
    const settings = method.settings(checkpoint, common, BRIEF[method.name] ?? {});
    made.push(await calibratedBy(method, settings, kind, `${method.name} in ${mode}`));
  }
  return made;
};

describe.each(kinds.flatMap((kind) => methods.map((method) => [kind, method.name, method] as const)))(
  '%s, by the method %s',
  (kind, _, method) => {
    it('is close to itself at 8 bits, whole or part by part', async () => {
      const { model } = checkpoints.get(kind)!;
      const inputs = inputsOf(kind);
      const cache = await openSampleCache(Infinity);
      const run = async (own: Model, parts: OpenPart) => ({
        store: await passBlocks(programs, own, parts, inputs, { cache, batch: 4, signal }),
        head: await parts(own.head),
      });
      const p = await run(model, plainParts(programs, checkpoints.get(kind)!));
      for (const set of await setsOf(method, kind)) {
        const source = sourceOf(kind, set);
        const q = await run(source.checkpoint.model, quantizedParts(programs, source, 8));
        const divergence = await meanDivergence(programs, model, p, q, signal);
        expect(divergence).toBeGreaterThan(0);
        expect(divergence).toBeLessThan(set.config.mode === 'weight-only' ? 1e-3 : 1e-2);
        const elastic = await openElasticModel(programs, source);
        await elastic.use(8);
        const partByPart = await passBlocks(programs, source.checkpoint.model, elastic.open, inputs, {
          cache,
          batch: 4,
          signal,
        });
        expect(contentsOf(partByPart)).toEqual(contentsOf(q.store));
        elastic.dispose();
        q.head.dispose();
        for (const store of [q.store, partByPart]) store.release();
      }
      p.head.dispose();
      p.store.release();
      expect(cache.held).toEqual({ memory: 0, disk: 0 });
    });
  },
);

it('is evaluated by sets of all methods beside each other', async () => {
  const checkpoint = checkpoints.get('usual')!;
  const data = await writeRandomPictures(join(folder, 'pictures'), 20);
  const [pictures, preprocessor] = [
    await openImages(data),
    await readPreprocessor(checkpoint.folder, { channels: 1, imageSize: 8, family: 'vit' }),
  ];
  const names = methods.flatMap((method) =>
    method.modes(checkpoint).map((mode) => `${method.name} in ${mode}`),
  );
  const candidates = await Promise.all(
    [USUAL[1], ...names].map(async (label) => ({
      label,
      kind: 'adapters' as const,
      bits: 8,
      widths: 8,
      bytes: 1,
      model: await openElasticModel(programs, sourceOf('usual', await reopened(folderOf('usual', label)))),
    })),
  );
  const rows = await evaluateClassifier(
    programs.runtime,
    checkpoint as Checkpoint<VisionModel>,
    await openPlainModel(programs, checkpoint),
    candidates,
    { source: pictures, indices: [...Array(20).keys()], preprocessor },
    { signal, status: () => undefined },
  );
  expect(rows.map(({ samples }) => samples)).toEqual([20, ...candidates.map(() => 20)]);
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

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, writeRandomModel } from '../../../test/fixtures.js';
import { createRandom } from '../../data/random.js';
import { batchesOf } from '../../execution/batches.js';
import { observe } from '../../execution/observe.js';
import { openPlainPart } from '../../execution/part.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { passPart } from '../../execution/part-by-part.js';
import {
  NO_SOURCES,
  openSampleCache,
  samplesIn,
  type ModelInputs,
  type SampleStore,
} from '../../execution/sample-store.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import type { Part } from '../../models/model.js';
import { openPrograms, type Programs } from '../../runtime/programs.js';
import { openRuntime } from '../../runtime/session.js';
import { keepBetter, keptTensors } from './guard.js';
import { bitGroups, PAPER_VIT, type QueptOptions } from './options.js';
import { layoutOf } from './layout.js';
import { startActivations } from './start.js';
import { localTensors } from './testing.js';
import type { NamedTensors } from '../../execution/tensors.js';

const [SAMPLES, BATCH] = [40, 16];
const BITS = [8, 7, 6, 5];
const options: QueptOptions = {
  ...PAPER_VIT,
  groups: bitGroups(
    [
      [7, 8],
      [5, 6],
    ],
    1,
  ),
  batch: BATCH,
  mergeWeights: [0.5, 0.5],
};
const { signal } = new AbortController();

let checkpoint: Checkpoint;
let programs: Programs;
let inputs: Float32Array;
/** Whole ranges and percentile scales: a start. */
let started: NamedTensors;
let cleanUp: () => Promise<void>;

beforeAll(async () => {
  const temporary = await temporaryFolder();
  cleanUp = temporary.cleanUp;
  await writeRandomModel(join(temporary.folder, 'model'));
  checkpoint = await openCheckpoint(join(temporary.folder, 'model'));
  programs = openPrograms(openRuntime('cpu', 1));
  const random = createRandom(3, 'inputs');
  inputs = Float32Array.from({ length: SAMPLES * 64 }, () => random.normal());
  started = await percentileGrids();
});
afterAll(async () => {
  await programs.release();
  await checkpoint.close();
  await cleanUp();
});

/** Grids of all quantizers, from what blocks read in full precision. */
async function percentileGrids(): Promise<NamedTensors> {
  const { model } = checkpoint;
  const cache = await openSampleCache(Infinity);
  const grids: NamedTensors = new Map();
  const advance = async (part: Part, from: ModelInputs, into?: SampleStore) => {
    const plain = await openPlainPart(programs, part, await checkpoint.read(part));
    const run = { part, runnable: plain, source: from, batch: BATCH };
    return passPart(programs, run, into, cache, { signal }).finally(() => plain.dispose());
  };
  let store = await advance(model.stem, samplesIn(inputs, SAMPLES));
  for (const part of model.blocks) {
    const [listing, parameters] = [checkpoint.listing(part), await checkpoint.read(part)];
    const layout = layoutOf(part, listing, options);
    const batches = batchesOf(part, store, NO_SOURCES, SAMPLES, BATCH);
    const observed = await observe(programs, part, layout.quantizers, parameters, batches, BATCH);
    for (const [name, grid] of startActivations(listing, layout, parameters, observed, options, false))
      grids.set(part.prefix + name, grid);
    store = await advance(part, store, store);
  }
  store.release();
  return grids;
}

/** What is kept of a whole model that learned `learned` from `start`. */
async function guard(learned: NamedTensors, start: NamedTensors) {
  const set = { inputs: samplesIn(inputs, SAMPLES), name: 'set', fingerprint: '' };
  const cache = await openSampleCache(0);
  const blockOf = (part: Part) =>
    Promise.resolve({ tensors: localTensors(learned, part), started: localTensors(start, part) });
  const { groups, kept } = await keepBetter(
    programs,
    { checkpoint, set, cache, distance: meanDivergence },
    options,
    blockOf,
    {
      signal,
    },
  );
  expect(cache.held).toEqual({ memory: 0, disk: 0 });
  const tensors: NamedTensors = new Map();
  for (const part of checkpoint.model.blocks)
    for (const [name, tensor] of keptTensors(
      layoutOf(part, checkpoint.listing(part), options),
      await blockOf(part),
      kept,
    ))
      tensors.set(part.prefix + name, tensor);
  return { groups, tensors };
}
const scales = (tensors: NamedTensors) =>
  new Map([...tensors].filter(([name]) => name.includes('.act_scale.')));
/** Activation scales of the given bit-widths made so coarse that the model is useless there. */
const spoiled = (bits: readonly number[]): NamedTensors =>
  new Map(
    [...started].map(([name, { shape, data }]) => {
      const spoil = name.includes('.act_scale.') && bits.includes(Number(name.at(-1)));
      return [name, { shape, data: spoil ? data.map((x) => x * 50) : data }];
    }),
  );

describe('keepBetter', () => {
  it('puts the start back where training made it worse, and only there', async () => {
    const learned = spoiled([7]);
    // A start that is worse everywhere but at 7 bits.
    const start = new Map([
      ...scales(spoiled([8, 6, 5])),
      ...[...scales(started)].filter(([name]) => name.endsWith('.7')),
    ]);
    const { groups, tensors } = await guard(learned, start);
    expect(groups).toEqual([
      { bits: [8], rank: 1, gain: 1 },
      { bits: [7], rank: 1, gain: 0 },
      { bits: [5, 6], rank: 2, gain: 1 },
    ]);
    for (const [name, { data }] of started) expect(tensors.get(name)!.data, name).toEqual(data);
  });

  it('keeps the start where training changed nothing', async () => {
    const { groups } = await guard(started, scales(started));
    expect(groups).toEqual([
      { bits: [7, 8], rank: 1, gain: 0 },
      { bits: [5, 6], rank: 2, gain: 0 },
    ]);
  });

  it('keeps everything learned where it is better, the tensors untouched', async () => {
    const { groups, tensors } = await guard(started, scales(spoiled(BITS)));
    expect(groups).toEqual(options.groups);
    expect(tensors).toEqual(started);
  });
});

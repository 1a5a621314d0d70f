import { expect, it } from 'vitest';
import { CancelledError } from '../errors.js';
import * as op from '../graph/ops.js';
import type { Model, Part } from '../models/model.js';
import { openPlainPart } from './part.js';
import { passBlocks, passingSize, passPart } from './part-by-part.js';
import {
  openSampleCache,
  samplesIn,
  type ModelInputs,
  type SampleCache,
  type SampleStore,
} from './sample-store.js';
import { contentsOf, usePrograms } from './testing.js';

const programs = usePrograms();
const { signal } = new AbortController();
const SAMPLES = 3;
const BATCH = 2;

/** Two tokens of two channels become one of four, each twice as large. */
const merging: Part = {
  prefix: '',
  kind: 'merging',
  inputShape: (batch) => [2 * batch, 2],
  outputShape: (batch) => [batch, 4],
  forward: (_b, x, batch) => op.mul(op.reshape(x, [batch, 4]), x.graph.scalar(2)),
};
const narrowing: Part = {
  prefix: '',
  kind: 'narrowing',
  inputShape: (batch) => [batch, 4],
  outputShape: (batch) => [batch, 1],
  forward: (_b, x) => op.slice(x, 1, 0, 1),
};
const open = (part: Part) => openPlainPart(programs, part, new Map());
const inputs = samplesIn(
  Float32Array.from({ length: SAMPLES * 4 }, (_, i) => i),
  SAMPLES,
);
const pass = async (part: Part, source: ModelInputs, into: SampleStore | undefined, cache: SampleCache) =>
  passPart(programs, { part, runnable: await open(part), source, batch: BATCH }, into, cache, { signal });

it('passes in place where samples keep their size, else into a store of the new size that takes the place of the old', async () => {
  const cache = await openSampleCache(Infinity);
  const first = await pass(merging, inputs, undefined, cache);
  expect([...contentsOf(first)]).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]);
  const second = await pass(merging, first, first, cache);
  expect(second).toBe(first);
  expect(contentsOf(second)[11]).toBe(44);
  const third = await pass(narrowing, second, second, cache);
  expect([...contentsOf(third)]).toEqual([0, 16, 32]);
  expect(cache.held.memory).toBe(SAMPLES * 4);
  // Into another store, the source stays.
  const fourth = await pass(narrowing, inputs, third, cache);
  expect(fourth).toBe(third);
  expect([...contentsOf(fourth)]).toEqual([0, 4, 8]);
});

it('leaves no store behind where it is cancelled', async () => {
  const cache = await openSampleCache(Infinity);
  const model = { stem: merging, blocks: [merging, narrowing] } as unknown as Model;
  const stop = new AbortController();
  const hooks = {
    cache,
    batch: BATCH,
    signal: stop.signal,
    status: (done: number) => void (done > 0.5 && stop.abort()),
  };
  await expect(passBlocks(programs, model, open, inputs, hooks)).rejects.toThrow(CancelledError);
  expect(cache.held.memory).toBe(0);
  const whole = await passBlocks(programs, model, open, inputs, { cache, batch: BATCH, signal });
  expect([...contentsOf(whole)]).toEqual([0, 16, 32]);
  expect(cache.held.memory).toBe(SAMPLES * 4);
  expect(passingSize(model)).toBe(5);
});

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { outlineOf, temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../../test/fixtures.js';
import { maxDifference } from '../../../test/support.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { openSampleCache, samplesIn } from '../../execution/sample-store.js';
import { usePrograms } from '../../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { toFloats } from '../../quantized/weight.js';
import { calibrate } from '../calibrate.js';
import { resolveRequest } from '../request.js';
import { openAdapterSet, openSource } from '../sets.js';

const programs = usePrograms();
const [SAMPLES, TOKENS, WORDS] = [8, 6, 11];
/** Windows of a stage of three blocks: [0], [0, 1], [1, 2], [2]. */
const FEW = { epochs: 4, batch: 4 };
/** Those that would have no effect beside some options. */
const MORE = { fill: 2, adapterRate: 0.01, clipRate: 0.1 };

let folder: string;
let cleanUp: () => Promise<void>;
let llama: Checkpoint;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'llama'), { ...TINY_LLAMA, num_hidden_layers: 3 });
  llama = await openCheckpoint(join(folder, 'llama'), { tokens: TOKENS });
});
afterAll(async () => {
  await llama.close();
  await cleanUp();
});

interface Run {
  readonly bits?: readonly number[];
  readonly options?: Readonly<Record<string, unknown>>;
  readonly resume?: boolean;
  /** Stops at the first status of this phase that is so far. */
  readonly stop?: (phase: string, done: number) => boolean;
}

/** How far it was at every status, with its phase and the loss of the latest epoch. */
async function run(name: string, { bits = [3], options = {}, resume = false, stop }: Run = {}) {
  const asked = {
    model: llama.folder,
    method: 'sliderquant',
    bits,
    options: { ...FEW, ...moreFor(options), ...options },
  };
  const ids = BigInt64Array.from({ length: SAMPLES * TOKENS }, (_, i) => BigInt((i * 7 + (i % 5)) % WORDS));
  const stopped = new AbortController();
  const seen: { done: number; phase: string; loss: number | undefined }[] = [];
  await calibrate(
    programs,
    {
      checkpoint: llama,
      ...resolveRequest(llama, asked),
      set: { inputs: samplesIn(ids, SAMPLES), name: 'data', fingerprint: '0'.repeat(64) },
      out: join(folder, name),
      resume,
      cache: await openSampleCache(Infinity),
      distance: meanDivergence,
      engineVersion: '0',
    },
    {
      signal: stopped.signal,
      status: ({ done, phase, series }) => {
        seen.push({ done, phase, loss: series?.[0]?.value });
        if (stop?.(phase, done)) stopped.abort();
      },
      note: () => undefined,
    },
  );
  return seen;
}

const moreFor = ({ windows, rank }: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(
    Object.entries(MORE).filter(
      ([key]) => !(key === 'fill' && windows !== undefined) && !(key === 'adapterRate' && rank === 0),
    ),
  );

async function weightIn(name: string, bits = 3): Promise<Float32Array> {
  const set = await openAdapterSet(join(folder, name));
  const layer = `${llama.model.blocks[1]!.prefix}mlp.down_proj`;
  const weight = await openSource(programs, llama, set).weight(layer, bits);
  await set.close();
  return toFloats(weight);
}

const bytesOf = (name: string) => readFile(join(folder, name, 'adapter_model.safetensors'), 'hex');

it('learns in every window, and tells how far it is to the end', async () => {
  const seen = await run('learned', {
    bits: [4, 3],
    options: { epochs: 24, adapterRate: 0.003, clipRate: 0.03 },
  });
  for (const [i, { done }] of seen.entries()) expect(done).toBeGreaterThanOrEqual(seen[i - 1]?.done ?? 0);
  expect(seen.at(-1)!.done).toBeCloseTo(1, 6);
  // Of the first and of the last epoch of all windows of a stage, together: one alone may have little to learn.
  for (const stage of [1, 2]) {
    const sums = [0, 0];
    for (const window of [1, 2, 3, 4]) {
      const phase = `3 bits, stage ${stage}/2, window ${window}/4`;
      const losses = seen.flatMap((one) => (one.phase === phase && one.loss !== undefined ? [one.loss] : []));
      sums[0]! += losses[0]!;
      sums[1]! += losses.at(-1)!;
    }
    expect(sums[1], `stage ${stage}`).toBeLessThan(0.95 * sums[0]!);
  }
  expect(await weightIn('learned', 4)).not.toEqual(await weightIn('learned', 3));
});

describe('interrupted and resumed, has the same bytes', () => {
  it.each([
    ['in the first window', '4 bits, stage 1/2, window 1/4'],
    ['between stages', '4 bits, stage 2/2, window 1/4'],
    ['in a window that blocks lie before', '4 bits, stage 2/2, window 3/4'],
    ['at the second bit-width', '3 bits, stage 1/2, window 4/4'],
  ])('%s', async (when, at) => {
    const bits = [4, 3];
    await run(`whole ${when}`, { bits });
    const name = `killed ${when}`;
    await expect(run(name, { bits, stop: (phase) => phase === at })).rejects.toThrow('Cancelled.');
    const [first] = await run(name, { bits, resume: true });
    if (when !== 'in the first window') expect(first!.done).toBeGreaterThan(0);
    expect(await bytesOf(name)).toBe(await bytesOf(`whole ${when}`));
  });
});

it.each([
  [{ windows: 'single' }],
  [{ windows: 'sliding' }],
  [{ fill: 3 }],
  [{ stages: 1 }],
  [{ epochs: 8 }],
  [{ batch: 2 }],
  [{ rank: 1 }],
  [{ rank: 0 }],
  [{ adapterRate: 0.02 }],
  [{ clipRate: 0.2 }],
  [{ loss: 'mae' }],
  [{ groupSize: 8 }],
])('%j changes weights', async (options: Readonly<Record<string, unknown>>) => {
  const name = JSON.stringify(options);
  await run('usual', { resume: true });
  await run(name, { options });
  expect(maxDifference(await weightIn(name), await weightIn('usual'))).toBeGreaterThan(1e-4);
});

describe('refuses', () => {
  it.each([
    [{ mode: 'weight-activation' }, /^SliderQuant quantizes weights alone/],
    [{ bits: [1] }, /^SliderQuant has bit-widths from 2 to 8, not 1\.$/],
    [{ bits: [8], options: { groupSize: 64 } }, /--group-size would have no effect/],
    [{ options: { windows: 'single', fill: 2 } }, /--fill would have no effect/],
    [{ options: { rank: 0, adapterRate: 1 } }, /--adapter-rate would have no effect/],
    [{ options: { stages: 4, epochs: 3 } }, /^4 stages need as many epochs/],
  ])('%j', (asked: object, message) => {
    const request = { model: 'm', method: 'sliderquant', ...asked };
    expect(() => resolveRequest(outlineOf('m', TINY_LLAMA), request)).toThrow(message);
  });
});

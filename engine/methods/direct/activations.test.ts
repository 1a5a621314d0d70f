import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../../test/fixtures.js';
import { divergences } from '../../execution/divergences.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import { openSampleCache, samplesIn, type ModelInputs } from '../../execution/sample-store.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { inputSize } from '../../models/model.js';
import { resolveRequest } from '../request.js';
import { openAdapterSet, openSource } from '../sets.js';
import { gridError, searchGrid } from './ranges.js';
import { calibrateDirect, type Asked } from './testing.js';

const programs = usePrograms();
const SAMPLES = 40;
const BITS = [8, 6, 4, 3];

let folder: string;
let cleanUp: () => Promise<void>;
const models = new Map<string, { readonly checkpoint: Checkpoint; readonly inputs: ModelInputs }>();
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'vit'), TINY_VIT);
  await writeRandomModel(join(folder, 'llama'), TINY_LLAMA);
  const vit = await openCheckpoint(join(folder, 'vit'));
  const pixels = normals([SAMPLES * inputSize(vit.model.stem)], 'pixels').data;
  models.set('vit', { checkpoint: vit, inputs: samplesIn(pixels, SAMPLES) });
  const llama = await openCheckpoint(join(folder, 'llama'), { tokens: 6 });
  const ids = BigInt64Array.from({ length: SAMPLES * 6 }, (_, i) => BigInt((i * 7 + (i % 5)) % 11));
  models.set('llama', { checkpoint: llama, inputs: samplesIn(ids, SAMPLES) });
});
afterAll(async () => {
  for (const { checkpoint } of models.values()) await checkpoint.close();
  await cleanUp();
});

const run = (name: string, model: string, asked: Partial<Asked> = {}, stop?: (phase: string) => boolean) => {
  const { checkpoint, inputs } = models.get(model)!;
  const request = { bits: BITS, mode: 'weight-activation', ...asked } as const;
  return calibrateDirect(programs, checkpoint, inputs, join(folder, name), request, stop);
};

const bytesOf = (name: string) => readFile(join(folder, name, 'adapter_model.safetensors'), 'hex');

/** Divergence from full precision at every bit-width of a set, as it is run. */
async function measure(name: string, model: string): Promise<number[]> {
  const { checkpoint, inputs } = models.get(model)!;
  const set = await openAdapterSet(join(folder, name));
  const source = openSource(programs, checkpoint, set);
  const cache = await openSampleCache(Infinity);
  const found = await divergences(
    programs,
    { checkpoint: source.checkpoint, inputs, batch: 8, cache, distance: meanDivergence },
    BITS.map((bits) => quantizedParts(programs, source, bits)),
    { signal: new AbortController().signal },
  );
  await set.close();
  return found;
}

describe.each([
  ['vit', {}],
  ['llama', {}],
  ['llama', { rotation: 'off' }],
  ['llama', { kvBits: 4 }],
] as const)('%s, %j', (model, options) => {
  const name = `${model} ${JSON.stringify(options)}`;

  it('is closer to full precision at more bits, and where targets make up for what activations lose', async () => {
    const seen = await run(name, model, { options });
    for (const [i, done] of seen.entries()) {
      expect(done).toBeGreaterThanOrEqual(seen[i - 1] ?? 0);
      expect(done).toBeLessThanOrEqual(1 + 1e-9);
    }
    await run(`${name} quick`, model, { options: { ...options, effort: 'quick' } });
    const [own, quick] = [await measure(name, model), await measure(`${name} quick`, model)];
    // At 3 bits; above, both are close.
    expect(own[3]).toBeLessThan(0.9 * quick[3]!);
    // Keys and values at 4 bits cost what they do, whatever the rest has.
    if ('kvBits' in options) return;
    for (const i of BITS.keys()) if (i > 0) expect(own[i]).toBeGreaterThan(own[i - 1]!);
    expect(own[0]).toBeLessThan(1e-3);
  });

  it.each([
    ['at ranges', (phase: string) => phase.startsWith('ranges') && phase.includes('block 2')],
    ['on the streams', (phase: string) => phase.startsWith('a stream') && phase.includes('block 2')],
    ['while it compares', (phase: string) => phase === 'comparing'],
  ])('interrupted %s and resumed, has the same bytes', async (when, stop) => {
    if (model === 'llama' && when === 'at ranges') return;
    const killed = `${name} killed ${when}`;
    await expect(run(killed, model, { options }, stop)).rejects.toThrow('Cancelled.');
    await run(killed, model, { options, resume: true });
    expect(await bytesOf(killed)).toBe(await bytesOf(name));
  });
});

it.each([
  ['vit', { rotation: 'on' }, 'cannot be rotated'],
  ['vit', { kvBits: 4 }, 'keep no keys and values'],
  ['vit', { groupSize: 16 }, 'whole rows share a scale'],
  ['llama', { effort: 'high' }, 'trains weights alone'],
])('refuses %s with %j', (model, options, problem) => {
  const { checkpoint } = models.get(model)!;
  const request = { model: '', method: 'direct', mode: 'weight-activation', options } as const;
  expect(() => resolveRequest(checkpoint, request)).toThrow(problem);
});

it('searches a grid of less error, that of columns which matter more counting more', () => {
  const [rows, columns, bits] = [200, 6, 3];
  const values = normals([rows, columns], 'activation').data.map((x, i) => (i % columns === 5 ? 8 * x : x));
  const start = { scale: 4, zero: 3 };
  const even = { values, cost: new Float64Array(columns).fill(1) };
  const small = { values, cost: Float64Array.of(1, 1, 1, 1, 1, 0) };
  const [ofAll, ofSmall] = [searchGrid(even, bits, start), searchGrid(small, bits, start)];
  expect(gridError(even, bits, ofAll)).toBeLessThan(gridError(even, bits, start));
  expect(gridError(small, bits, ofSmall)).toBeLessThan(gridError(small, bits, ofAll));
  expect(ofSmall.scale).toBeLessThan(ofAll.scale);
});

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../../test/fixtures.js';
import { maxDifference } from '../../../test/support.js';
import { hessianSums } from '../../execution/hessians.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { replaceByCurvature } from '../../execution/loss.js';
import { plainParts } from '../../execution/part-by-part.js';
import { sweepBack } from '../../execution/reverse-sweep.js';
import { openSampleCache, samplesIn, type ModelInputs } from '../../execution/sample-store.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { byInput } from '../../models/listing.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { keepLossWeights, lossWeightsOf } from '../loss-weights.js';
import type { CalibrationContext } from '../method.js';
import { openProgress } from '../progress.js';
import { batchOf, walkBlocks } from '../walk.js';
import { blockMoments } from './once.js';

const programs = usePrograms();
const { signal } = new AbortController();
const [SAMPLES, TOKENS, SEED] = [5, 6, 3];
/** Share of the weights in which tokens count alike. */
const ALIKE = 0.1;

let place: Awaited<ReturnType<typeof temporaryFolder>>;
let models: Readonly<Record<string, { readonly checkpoint: Checkpoint; readonly inputs: ModelInputs }>>;
beforeAll(async () => {
  place = await temporaryFolder();
  await writeRandomModel(join(place.folder, 'text'), TINY_LLAMA);
  await writeRandomModel(join(place.folder, 'pictures'), TINY_VIT);
  const ids = BigInt64Array.from({ length: SAMPLES * TOKENS }, (_, i) => BigInt((i * 7 + (i % 5)) % 11));
  models = {
    text: {
      checkpoint: await openCheckpoint(join(place.folder, 'text'), { tokens: TOKENS }),
      inputs: samplesIn(ids, SAMPLES),
    },
    pictures: {
      checkpoint: await openCheckpoint(join(place.folder, 'pictures')),
      inputs: samplesIn(normals([SAMPLES, 64], 'pictures').data, SAMPLES),
    },
  };
});
afterAll(async () => {
  for (const { checkpoint } of Object.values(models)) await checkpoint.close();
  await place.cleanUp();
});

/** Hessians of tokens, or of none, of all layers by their full names, at the same random direction. */
async function hessians(
  { checkpoint, inputs }: (typeof models)[string],
  kind: 'token' | 'l2',
): Promise<Map<string, Float32Array>> {
  const found = new Map<string, Float32Array>();
  const batch = batchOf(checkpoint.model, SAMPLES);
  const cache = await openSampleCache(Infinity);
  await sweepBack(
    programs,
    {
      ...{ checkpoint, inputs, cache, batch },
      differentiate: (store, hooks) => replaceByCurvature(programs, checkpoint, store, SEED, hooks),
    },
    {
      build: hessianSums(kind),
      done: ({ part }, sums) => {
        for (const [name, sum] of sums) found.set(part.prefix + name, sum);
        return Promise.resolve();
      },
    },
    { signal },
  );
  return found;
}

describe.each(['text', 'pictures'])('moments of %s weighted by the loss', (name) => {
  it('are those of tokens, of all layers that share an input, and some of what all count alike', async () => {
    const own = models[name]!;
    const { checkpoint, inputs } = own;
    await mkdir(join(place.folder, name), { recursive: true });
    const progress = await openProgress(join(place.folder, `set of ${name}`), {}, false);
    const cache = await openSampleCache(Infinity);
    const hooks = { signal, status: () => undefined, note: (line: string) => expect.fail(line) };
    const context = {
      programs,
      checkpoint,
      cache,
      progress,
      hooks,
      distance: meanDivergence,
    } as CalibrationContext;
    await keepLossWeights(context, inputs, SEED, () => undefined);
    expect(cache.held).toEqual({ memory: 0, disk: 0 });
    const [token, alike] = [await hessians(own, 'token'), await hessians(own, 'l2')];
    let sites = 0;
    await walkBlocks(context, inputs, [plainParts(programs, checkpoint)], async (block) => {
      const { listing, part, index, parameters } = block;
      const weights = await lossWeightsOf(context, index);
      const moments = await blockMoments(programs, block, signal, () => undefined, { weights });
      for (const group of byInput(listing.linears)) {
        const [first] = group;
        const n = first.in;
        const sum = new Float32Array(n * n);
        for (const layer of group)
          for (const [i, x] of token.get(part.prefix + layer.name)!.entries()) sum[i]! += x;
        const plain = alike.get(part.prefix + first.name)!;
        const found = moments.get(first.name)!;
        // The mean of the weights is 1; what they were before is told by any entry.
        const rest = found.map((x, i) => (x - ALIKE * plain[i]!) / (1 - ALIKE));
        const scale = rest[0]! / sum[0]!;
        const most = rest.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
        expect(
          maxDifference(
            rest,
            sum.map((x) => x * scale),
          ),
          first.name,
        ).toBeLessThan(1e-4 * most);
        const own = weights!.get(first.name)!;
        const { samples, size } = own;
        const each = new Float32Array(samples * size);
        own.read([...Array(samples).keys()], each);
        expect(each.reduce((a, b) => a + b, 0) / each.length).toBeCloseTo(1, 5);
        // They differ.
        expect(Math.max(...each) - Math.min(...each)).toBeGreaterThan(0.1);
        sites++;
      }
      return [parameters];
    });
    expect(sites).toBe(4 * checkpoint.model.blocks.length);
  });
});

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../../test/fixtures.js';
import { createRandom } from '../../data/random.js';
import { layerNames } from '../../execution/model.js';
import { openElasticModel, widthsOf } from '../../execution/quantized-model.js';
import { partOf, type QuantizedSource } from '../../execution/source.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import type { Part } from '../../models/model.js';
import { formOf } from '../../quantized/form.js';
import { adapterLayout } from './adapters.js';
import { bitGroups } from './options.js';
import type { ElasticSettings } from './source.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { elasticSettings, learnedModel, modelAdapters } from './testing.js';

const programs = usePrograms();
const groups = bitGroups([[7, 8], [4], [2]], 1);
const sizes = [-1, 12, 12];

let cleanUp: () => Promise<void>;
const checkpoints = new Map<string, Checkpoint>();
beforeAll(async () => {
  const temporary = await temporaryFolder();
  cleanUp = temporary.cleanUp;
  for (const [name, config] of Object.entries({ vit: TINY_VIT, llama: TINY_LLAMA })) {
    await writeRandomModel(join(temporary.folder, name), config);
    checkpoints.set(name, await openCheckpoint(join(temporary.folder, name)));
  }
});
afterAll(async () => {
  for (const checkpoint of checkpoints.values()) await checkpoint.close();
  await cleanUp();
});

function sourceOf(name: string, change: Partial<ElasticSettings> = {}, hasGrids = true): QuantizedSource {
  const checkpoint = checkpoints.get(name)!;
  const layoutOf = (part: Part) => adapterLayout(checkpoint.listing(part), groups, hasGrids, true, sizes);
  const settings = elasticSettings(layoutOf(checkpoint.model.blocks[0]!), change);
  return learnedModel(programs, checkpoint, settings, modelAdapters(checkpoint, layoutOf));
}

/** Logits at each plan, one after another. @param memory for adapted weights */
async function logitsOf(source: QuantizedSource, plans: readonly (readonly number[])[], memory = 0) {
  const { model } = source.checkpoint;
  const shape = model.stem.inputShape(1);
  const ids = BigInt64Array.from({ length: shape.at(-1)! }, (_, i) => BigInt((i * 7) % 11));
  const x = programs.runtime.tensor(model.reads === 'pixels' ? normals(shape, 'pixels').data : ids, shape);
  const elastic = await openElasticModel(programs, source, memory);
  const found: Float32Array[] = [];
  for (const plan of plans) {
    await elastic.use(widthsOf(layerNames(source.checkpoint), plan));
    found.push((await elastic.run(x, 1)).slice());
  }
  elastic.dispose();
  return found;
}

describe('a calibrated model', () => {
  it('offers the bit-widths of its groups, from low to high', () => {
    expect(sourceOf('vit').offered).toEqual([2, 4, 7, 8]);
  });

  it('has the form that its weights turn out to have, of every layer', async () => {
    const source = sourceOf('vit');
    for (const name of layerNames(source.checkpoint))
      for (const bits of source.offered) {
        const form = source.form(name, bits);
        expect(form).toMatchObject({ kind: 'grid', bits, groupSize: bits > 4 ? -1 : 12 });
        expect(formOf(await source.weight(name, bits)), name).toEqual({ ...form, zeroBits: bits });
      }
  });

  it('refuses a bit-width that it does not offer', async () => {
    const source = sourceOf('vit');
    const [first] = layerNames(source.checkpoint);
    await expect(source.weight(first!, 5)).rejects.toThrow('no 5-bit setting; it has 8, 7, 4, 2.');
  });

  it.each([
    [2, 2],
    [8, 8],
    [16, undefined],
    [32, undefined],
  ])('runs embedding and head that are kept at %i bits at %s', (bits, expected) => {
    const source = sourceOf('vit', { embeddingBits: bits, headBits: 32 });
    const { stem, head, blocks } = source.checkpoint.model;
    expect([stem, head, blocks[0]!].map((part) => source.fixedBits(part))).toEqual([
      expected,
      undefined,
      undefined,
    ]);
    const other = sourceOf('vit', { embeddingBits: 32, headBits: bits });
    expect([stem, head].map((part) => other.fixedBits(part))).toEqual([undefined, expected]);
  });

  it('has the grids of each block where it learned them, and works per token elsewhere', async () => {
    const source = sourceOf('llama');
    const [first, second] = source.checkpoint.model.blocks.map(({ prefix }) => prefix);
    const query = 'self_attn.q_proj';
    const grid = await source.activation(`${first!}${query}`, 4);
    expect(grid).toEqual({ scale: expect.any(Number) as number, zero: 8 });
    expect(await source.activation(`${second!}${query}`, 4)).toEqual(grid);
    expect(await source.activation(`${first!}${query}`, 8)).not.toEqual(grid);
    // A layer that reads what the first one does has no grid of its own.
    expect(await source.activation(`${first!}self_attn.k_proj`, 4)).toBe('token');
    const weightOnly = sourceOf('llama', { isActivationQuantized: false });
    expect(await weightOnly.activation(`${first!}${query}`, 4)).toBeUndefined();
  });

  it.each(['vit', 'llama'])('runs %s as its weights and activations alone do, to the bit', async (name) => {
    const whole = sourceOf(name, {}, name === 'vit');
    const { part: _, ...named } = whole;
    const plan = layerNames(whole.checkpoint).map((_layer, i) => [8, 7, 4, 2][i % 4]!);
    expect(await logitsOf(named, [plan])).toEqual(await logitsOf(whole, [plan]));
  });

  it.each(['vit', 'llama'])('gives %s, after switches, the bits of one opened at the plan', async (name) => {
    const source = sourceOf(name, {}, name === 'vit');
    const random = createRandom(1, name);
    const plans = Array.from({ length: 6 }, () =>
      layerNames(source.checkpoint).map(() => source.offered[random.integer(4)]!),
    );
    // Room for the adapted weights of some layers, and not of all.
    const switched = await logitsOf(source, plans, 20_000);
    for (const [i, plan] of plans.entries()) expect(switched[i]).toEqual((await logitsOf(source, [plan]))[0]);
  });

  it.each(['vit', 'llama'])('opens the parts of %s as its weights and activations say', async (name) => {
    const whole = sourceOf(name, { cacheBits: 4 }, name === 'vit');
    const { part: _, ...named } = whole;
    for (const part of whole.checkpoint.model.blocks) {
      const [own, generic] = [await partOf(whole, part), await partOf(named, part)];
      expect(generic.parameters).toEqual(own.parameters);
      expect([own.cache, generic.cache]).toEqual([4, 4]);
      const { linears, operands } = whole.checkpoint.listing(part);
      for (const owner of [...linears.map(({ input }) => input), ...operands])
        for (const bits of whole.offered)
          expect(generic.activation(owner, bits), owner).toEqual(own.activation(owner, bits));
    }
  });
});

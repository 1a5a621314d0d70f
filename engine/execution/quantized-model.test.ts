import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { maxDifference } from '../../test/support.js';
import { createRandom } from '../data/random.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { Tensor } from '../runtime/session.js';
import { adapterLayout } from '../methods/quept/adapters.js';
import { layerNames, openPlainModel } from './model.js';
import { openElasticModel, widthsOf, type Adapters, type ElasticModel } from './quantized-model.js';
import { bitGroups } from '../methods/quept/options.js';
import type { NamedTensors } from './tensors.js';
import { normals, randomAdapters, usePrograms } from '../methods/quept/testing.js';

const programs = usePrograms();
const BITS = [8, 6, 4, 2];
const groups = bitGroups([[8, 6], [4], [2]], [2, 3, 4]).map((g, i) => ({ ...g, gain: [1, 0.5, 0.25][i]! }));
const BATCH = 2;

interface Setting {
  readonly checkpoint: Checkpoint;
  readonly adapters: Adapters;
  readonly inputs: Tensor;
}

/** A model with an adapter set that differs from layer to layer. */
function settingOf(checkpoint: Checkpoint, mode: Adapters['config']['mode'], inputs: Tensor): Setting {
  const tensors: NamedTensors = new Map();
  const layers: Record<string, Adapters['config']['layers'][string]> = {};
  for (const part of checkpoint.model.blocks) {
    const listing = checkpoint.listing(part);
    const sizes = mode === 'weight-only' ? [-1, 8, 8] : [-1, -1, -1];
    const layout = adapterLayout(listing, groups, mode === 'weight-activation', true, sizes);
    for (const [name, tensor] of randomAdapters(layout)) tensors.set(part.prefix + name, tensor);
    const group_size = Object.fromEntries(groups.flatMap((g, i) => g.bits.map((b) => [b, sizes[i]!])));
    for (const { name, in: columns, out, input } of listing.linears)
      layers[part.prefix + name] = { in: columns, out, group_size, input: part.prefix + input };
  }
  const config = { mode, layers, bit_groups: groups, embedding_bits: 8, head_bits: 32 };
  return { checkpoint, adapters: { config, tensors }, inputs };
}

const settings: Record<string, Setting> = {};
const cleanUps: (() => Promise<void>)[] = [];
beforeAll(async () => {
  const { folder, cleanUp } = await temporaryFolder();
  cleanUps.push(cleanUp);
  await writeRandomModel(join(folder, 'vit'), TINY_VIT);
  await writeRandomModel(join(folder, 'llama'), TINY_LLAMA);
  const vit = await openCheckpoint(join(folder, 'vit'));
  const llama = await openCheckpoint(join(folder, 'llama'), { tokens: 6 });
  cleanUps.push(
    () => vit.close(),
    () => llama.close(),
  );
  const pixels = normals([BATCH, 1, 8, 8], 'pixels');
  const ids = BigInt64Array.from({ length: BATCH * 6 }, (_, i) => BigInt((i * 7) % 11));
  settings.vit = settingOf(vit, 'weight-activation', programs.runtime.tensor(pixels.data, pixels.shape));
  settings.llama = settingOf(llama, 'weight-only', programs.runtime.tensor(ids, [BATCH, 6]));
});
afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

const logitsOf = async (model: ElasticModel, { inputs }: Setting) => (await model.run(inputs, BATCH)).slice();

async function fresh(setting: Setting, plan: readonly number[]): Promise<Float32Array> {
  const { checkpoint, adapters } = setting;
  const model = await openElasticModel(programs, checkpoint, adapters);
  await model.use(widthsOf(layerNames(checkpoint), plan));
  const logits = await logitsOf(model, setting);
  model.dispose();
  return logits;
}

describe.each(['vit', 'llama'])('an elastic %s', (name) => {
  it('gives, after any switches, the bits of a model opened with the same plan', async () => {
    const setting = settings[name]!;
    const { checkpoint, adapters } = setting;
    const layers = layerNames(checkpoint);
    // Room for the adapted weights of some layers, and not of all.
    const model = await openElasticModel(programs, checkpoint, adapters, 20_000);
    const random = createRandom(1, name);
    const draw = () => BITS[random.integer(BITS.length)]!;
    let plan = layers.map(draw);
    await model.use(widthsOf(layers, plan));
    for (let turn = 0; turn < 12; turn++) {
      const next = plan.slice();
      // One layer, some, or all.
      if (turn % 3 === 0) next[random.integer(layers.length)] = draw();
      else for (const i of layers.keys()) if (turn % 3 === 1 || random.integer(2) === 0) next[i] = draw();
      const changed = next.filter((bits, i) => bits !== plan[i]).length;
      expect(await model.use(widthsOf(layers, next))).toBe(changed);
      plan = next;
      expect(await logitsOf(model, setting)).toEqual(await fresh(setting, plan));
    }
    expect(new Set(plan).size).toBeGreaterThan(1);
    model.dispose();
  });

  it('is the same whether all layers have one bit-width by themselves or together', async () => {
    const setting = settings[name]!;
    const model = await openElasticModel(programs, setting.checkpoint, setting.adapters);
    for (const bits of BITS) {
      await model.use(bits);
      const together = await logitsOf(model, setting);
      expect(together).toEqual(
        await fresh(
          setting,
          layerNames(setting.checkpoint).map(() => bits),
        ),
      );
    }
    model.dispose();
  });

  it('heeds every layer of a plan', async () => {
    const setting = settings[name]!;
    const layers = layerNames(setting.checkpoint);
    const all = await fresh(
      setting,
      layers.map(() => 8),
    );
    for (const i of layers.keys())
      expect(
        maxDifference(
          await fresh(
            setting,
            layers.map((_, j) => (i === j ? 2 : 8)),
          ),
          all,
        ),
      ).toBeGreaterThan(1e-4);
  });

  it('without a bit-width for any layer is the model in full precision', async () => {
    const setting = settings[name]!;
    const { checkpoint, adapters, inputs } = setting;
    const unrounded = { ...adapters, config: { ...adapters.config, embedding_bits: 32 } };
    const model = await openElasticModel(programs, checkpoint, unrounded);
    const plain = await openPlainModel(programs, checkpoint);
    await model.use(4);
    await model.use(() => undefined);
    expect(maxDifference(await logitsOf(model, setting), await plain.run(inputs, BATCH))).toBeLessThan(1e-5);
    await expect(model.use(5)).rejects.toThrow('no 5-bit setting');
    model.dispose();
    plain.dispose();
  });
});

describe('operands of attention products', () => {
  it('take the bit-width of the layer that makes them', async () => {
    const setting = settings.vit!;
    const { checkpoint, adapters } = setting;
    const layers = layerNames(checkpoint);
    const key = layers.findIndex((name) => name.endsWith('attention.attention.key'));
    const plan = layers.map((_, i) => (i === key ? 2 : 8));
    const before = await fresh(setting, plan);
    const spoiled = async (bits: number) => {
      const tensors = new Map(adapters.tensors as NamedTensors);
      const name = `${checkpoint.model.blocks[0]!.prefix}attention.attention.k.act_scale.${bits}`;
      const { shape, data } = tensors.get(name)!;
      tensors.set(name, { shape, data: data.map((x) => x * 3) });
      return fresh({ ...setting, adapters: { ...adapters, tensors } }, plan);
    };
    expect(maxDifference(await spoiled(2), before)).toBeGreaterThan(1e-4);
    expect(await spoiled(8)).toEqual(before);
  });
});

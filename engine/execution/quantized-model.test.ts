import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { maxDifference } from '../../test/support.js';
import { createRandom } from '../data/random.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { Tensor } from '../runtime/session.js';
import { layerNames, openPlainModel } from './model.js';
import { openElasticModel, widthsOf, type ElasticModel } from './quantized-model.js';
import { toFloats } from '../quantized/weight.js';
import { partOf, type QuantizedSource } from './source.js';
import { gridSource, normals, randomGrid, usePrograms, type GridSettings } from './testing.js';

const programs = usePrograms();
const BITS = [8, 6, 4, 2];
const BATCH = 2;

interface Setting {
  readonly checkpoint: Checkpoint;
  readonly precision: GridSettings & { readonly embeddingBits?: number };
  readonly inputs: Tensor;
}

/** Pictures have grids for activations; text has none, and finer ones for weights. */
const GRIDS = { groupSizeOf: () => -1, activation: randomGrid, embeddingBits: 8 };
const WEIGHTS = {
  groupSizeOf: (bits: number) => (bits > 4 ? -1 : 8),
  activation: () => undefined,
  embeddingBits: 8,
};

const sourceOf = ({ checkpoint, precision }: Setting) => gridSource(programs, checkpoint, BITS, precision);

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
  const { runtime } = programs;
  settings.vit = { checkpoint: vit, precision: GRIDS, inputs: runtime.tensor(pixels.data, pixels.shape) };
  settings.llama = { checkpoint: llama, precision: WEIGHTS, inputs: runtime.tensor(ids, [BATCH, 6]) };
});
afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

const logitsOf = async (model: ElasticModel, { inputs }: Setting) => (await model.run(inputs, BATCH)).slice();

async function fresh(setting: Setting, plan: readonly number[]): Promise<Float32Array> {
  return freshOf(sourceOf(setting), setting, plan);
}

async function freshOf(
  source: QuantizedSource,
  setting: Setting,
  plan: readonly number[],
): Promise<Float32Array> {
  const model = await openElasticModel(programs, source);
  await model.use(widthsOf(layerNames(source.checkpoint), plan));
  const logits = await logitsOf(model, setting);
  model.dispose();
  return logits;
}

describe.each(['vit', 'llama'])('an elastic %s', (name) => {
  it('gives, after any switches, the bits of a model opened with the same plan', async () => {
    const setting = settings[name]!;
    const layers = layerNames(setting.checkpoint);
    const model = await openElasticModel(programs, sourceOf(setting));
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
    const model = await openElasticModel(programs, sourceOf(setting));
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
    const { checkpoint, precision, inputs } = setting;
    const unrounded = { ...setting, precision: { ...precision, embeddingBits: 32 } };
    const model = await openElasticModel(programs, sourceOf(unrounded));
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
    const { checkpoint } = setting;
    const layers = layerNames(checkpoint);
    const key = layers.findIndex((name) => name.endsWith('attention.attention.key'));
    const plan = layers.map((_, i) => (i === key ? 2 : 8));
    const before = await fresh(setting, plan);
    const operand = `${checkpoint.model.blocks[0]!.prefix}attention.attention.k`;
    const spoiled = async (spoiledBits: number) => {
      const activation = (owner: string, bits: number) => {
        const { scale, zero } = randomGrid(owner, bits);
        return { scale: owner === operand && bits === spoiledBits ? 3 * scale : scale, zero };
      };
      return fresh({ ...setting, precision: { ...setting.precision, activation } }, plan);
    };
    expect(maxDifference(await spoiled(2), before)).toBeGreaterThan(1e-4);
    expect(await spoiled(8)).toEqual(before);
  });
});

describe('a switch that fails', () => {
  /** The source with its layers' weights made by `quantize`, which is given what makes them. @param layer its full name */
  const changed = (
    source: QuantizedSource,
    quantize: (layer: string, make: () => Promise<Tensor>) => Promise<Tensor>,
  ): QuantizedSource => ({
    ...source,
    part: async (part) => {
      const own = await partOf(source, part);
      return {
        ...own,
        weights: (...given) => {
          const weights = own.weights(...given);
          return {
            ...weights,
            quantize: (layer, bits) =>
              quantize(part.prefix + layer.name, () => weights.quantize(layer, bits)),
          };
        },
      };
    },
  });

  it.each(['vit', 'llama'])('leaves %s at the plan it had, whichever layer it is', async (name) => {
    const setting = settings[name]!;
    const layers = layerNames(setting.checkpoint);
    const before = layers.map((_, i) => [8, 4, 6][i % 3]!);
    const expected = await fresh(setting, before);
    for (const failing of layers) {
      let isFailing = false;
      // The layers beside it are still being made when it fails.
      const source = changed(sourceOf(setting), (layer, make) =>
        isFailing && layer === failing ? Promise.reject(new Error('The memory is full.')) : make(),
      );
      const model = await openElasticModel(programs, source);
      await model.use(widthsOf(layers, before));
      isFailing = true;
      await expect(model.use(2)).rejects.toThrow('The memory is full.');
      isFailing = false;
      expect(await logitsOf(model, setting), failing).toEqual(expected);
      expect(await model.use(widthsOf(layers, before)), failing).toBe(0);
      model.dispose();
    }
  });
});

describe('a source of weights and activations alone', () => {
  it.each(['vit', 'llama'])('runs %s as it does where it opens parts by itself', async (name) => {
    const setting = settings[name]!;
    // Embedding and head belong to parts alone: a method without any leaves them in floating point.
    const precision = { ...setting.precision, embeddingBits: 32 };
    const { part: _, ...source } = sourceOf({ ...setting, precision });
    const plan = layerNames(setting.checkpoint).map((_layer, i) => BITS[i % BITS.length]!);
    expect(await freshOf(source, setting, plan)).toEqual(await fresh({ ...setting, precision }, plan));
  });

  it('runs a layer as the floats of its weight', async () => {
    const setting = settings.llama!;
    const { part: _, ...source } = sourceOf(setting);
    const { model } = setting.checkpoint;
    const [block] = model.blocks;
    const opened = await partOf(source, block!);
    const weights = opened.weights(programs, new Map(), { left: 0 });
    for (const layer of setting.checkpoint.listing(block!).linears)
      for (const bits of BITS) {
        const placed = await weights.quantize(layer, bits);
        const floats = toFloats(await source.weight(block!.prefix + layer.name, bits));
        expect((await programs.runtime.read(placed)).slice(), layer.name).toEqual(floats);
        placed.dispose();
      }
  });
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { readGolden } from '../../test/support.js';
import { klDivergence } from '../divergence.js';
import { writeSafetensors } from '../formats/safetensors.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { Part } from '../models/model.js';
import { hessianSums, type HessianKind } from './hessians.js';
import { drawLabels, nextTokens, replaceByCurvature, replaceByGradient, type Labels } from './loss.js';
import { openPlainModel } from './model.js';
import { openPlainPart } from './part.js';
import { sweepBack, type SweepTask } from './reverse-sweep.js';
import { openSampleCache, samplesIn, type ModelInputs } from './sample-store.js';
import { normals, usePrograms } from './testing.js';

const programs = usePrograms();
const { signal } = new AbortController();
const golden = await readGolden('oac_hessian.safetensors');
const [SEQUENCES, TOKENS] = [6, 10];

let place: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => (place = await temporaryFolder()));
afterAll(() => place.cleanUp());

/** The model of the vectors (`test/golden/README.md`). */
async function goldenModel(): Promise<Checkpoint> {
  const config = {
    ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_act: 'silu' },
    ...{ hidden_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
    ...{ intermediate_size: 40, vocab_size: 50, rms_norm_eps: 1e-5, rope_theta: 10000 },
    ...{ max_position_embeddings: 32, tie_word_embeddings: false },
  };
  const tensors = golden.names
    .filter((name) => name.startsWith('weights.'))
    .map((name) => {
      const { data, shape } = golden.floats(name);
      return { name: name.slice('weights.'.length), dtype: 'F32' as const, shape, data };
    });
  await writeSafetensors(join(place.folder, 'model.safetensors'), tensors);
  await writeFile(join(place.folder, 'config.json'), JSON.stringify(config));
  return openCheckpoint(place.folder, { tokens: TOKENS });
}

/** Sums of all blocks by the layer's full name, as they come. */
async function hessiansOf(
  checkpoint: Checkpoint,
  inputs: ModelInputs,
  labels: Labels,
  kind: HessianKind,
  { slices = 1, batch = 4 }: { readonly slices?: number; readonly batch?: number } = {},
): Promise<Map<string, Float32Array>> {
  const found = new Map<string, Float32Array>();
  const cache = await openSampleCache(Infinity);
  await sweepBack(
    programs,
    {
      checkpoint,
      inputs,
      cache,
      batch,
      differentiate: (store, hooks) => replaceByGradient(programs, checkpoint, store, labels, hooks),
    },
    {
      build: hessianSums(kind, slices),
      done: ({ part, index }, sums) => {
        for (const [name, sum] of sums) found.set(part.prefix + name, sum);
        expect(index).toBe(found.size === sums.size ? 1 : 0);
        return Promise.resolve();
      },
    },
    { signal },
  );
  expect(cache.held).toEqual({ memory: 0, disk: 0 });
  return found;
}

/** The next tokens of each sequence, or the labels that stand for them. */
function labelsOf(name?: string): Labels {
  if (name === undefined) return nextTokens(sequences());
  const own = golden.floats(name).data;
  return Int32Array.from({ length: SEQUENCES * TOKENS }, (_, i) => {
    const [sequence, token] = [Math.floor(i / TOKENS), i % TOKENS];
    return token === TOKENS - 1 ? -1 : own[sequence * (TOKENS - 1) + token]!;
  });
}

const sequences = () => samplesIn(BigInt64Array.from(golden.floats('ids').data, BigInt), SEQUENCES);

/** The largest difference of a from b, both over their own largest entry, which takes their scales out. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>, scale = 1): number {
  expect(a.length).toBe(b.length);
  let [worst, largest] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    worst = Math.max(worst, Math.abs(a[i]! * scale - b[i]!));
    largest = Math.max(largest, Math.abs(b[i]!));
  }
  return worst / largest;
}

describe('Hessians of the vectors', () => {
  /** Losses there are means over a sequence's predictions. */
  const MEAN = 1 / (TOKENS - 1) ** 2;

  it.each([
    ['l2', 1],
    ['token', MEAN],
    ['sequence', MEAN],
  ] as const)('%s', async (kind, scale) => {
    const checkpoint = await goldenModel();
    // Batches of 4 leave two sequences and two places for the last.
    const found = await hessiansOf(checkpoint, sequences(), labelsOf(), kind);
    expect(found.size).toBe(14);
    for (const [name, hessian] of found)
      expect(difference(hessian, golden.floats(`${kind}.${name}.weight`).data, scale), name).toBeLessThan(
        1e-4,
      );
    await checkpoint.close();
  });

  it('from a block on, whose input stays as it is', async () => {
    const checkpoint = await goldenModel();
    const cache = await openSampleCache(Infinity);
    const { data } = golden.floats('hidden.1');
    const x = cache.store(SEQUENCES, data.length / SEQUENCES);
    x.writeSpan(0, data);
    const found = new Map<string, Float32Array>();
    const differentiate: SweepTask['differentiate'] = (store, hooks) =>
      replaceByGradient(programs, checkpoint, store, labelsOf(), hooks);
    await sweepBack(
      programs,
      { checkpoint, inputs: sequences(), cache, batch: 4, from: { index: 1, x }, differentiate },
      {
        build: hessianSums('sequence'),
        done: ({ part }, sums) => {
          for (const [name, sum] of sums) found.set(part.prefix + name, sum);
          return Promise.resolve();
        },
      },
      { signal },
    );
    expect(found.size).toBe(7);
    for (const [name, hessian] of found)
      expect(difference(hessian, golden.floats(`sequence.${name}.weight`).data, MEAN), name).toBeLessThan(
        1e-4,
      );
    const after = new Float32Array(data.length);
    x.readSpan(0, after);
    expect(after).toEqual(data);
    await checkpoint.close();
  });

  it('token, a slice of rows each', async () => {
    const checkpoint = await goldenModel();
    const found = await hessiansOf(checkpoint, sequences(), labelsOf(), 'token', { slices: 2 });
    for (const name of ['self_attn.k_proj', 'mlp.down_proj'].map((layer) => `model.layers.1.${layer}`)) {
      const reference = golden.floats(`token2.${name}.weight`).data;
      expect(difference(found.get(name)!, reference, MEAN), name).toBeLessThan(1e-4);
    }
    await checkpoint.close();
  });

  it('sequence, with other labels than the next tokens', async () => {
    const checkpoint = await goldenModel();
    const found = await hessiansOf(checkpoint, sequences(), labelsOf('labels'), 'sequence');
    for (const [name, hessian] of found)
      if (name.includes('layers.0.')) {
        const reference = golden.floats(`labels.sequence.${name}.weight`).data;
        expect(difference(hessian, reference, MEAN), name).toBeLessThan(1e-4);
      }
    await checkpoint.close();
  });
});

describe('a sum over samples', () => {
  it('does not depend on how many run at once, nor on their order', async () => {
    const checkpoint = await goldenModel();
    const one = await hessiansOf(checkpoint, sequences(), labelsOf(), 'sequence', { batch: 1 });
    const order = [3, 0, 5, 1, 4, 2];
    const ids = golden.floats('ids').data;
    const turned = <T>(from: ArrayLike<T>) =>
      order.flatMap((i) => Array.from({ length: TOKENS }, (_, t) => from[i * TOKENS + t]!));
    const inputs = samplesIn(BigInt64Array.from(turned(ids), BigInt), SEQUENCES);
    const other = await hessiansOf(checkpoint, inputs, Int32Array.from(turned(labelsOf())), 'sequence', {
      batch: 5,
    });
    for (const [name, hessian] of one) expect(difference(other.get(name)!, hessian), name).toBeLessThan(1e-5);
    await checkpoint.close();
  });

  it('has nothing of a sample without labels', async () => {
    const checkpoint = await goldenModel();
    const labels = labelsOf();
    labels.fill(-1, TOKENS);
    const ids = BigInt64Array.from(golden.floats('ids').data, BigInt);
    const all = await hessiansOf(checkpoint, samplesIn(ids, SEQUENCES), labels, 'sequence');
    const first = await hessiansOf(
      checkpoint,
      samplesIn(ids.slice(0, TOKENS), 1),
      labels.slice(0, TOKENS),
      'sequence',
      { batch: 1 },
    );
    for (const [name, hessian] of first) expect(difference(all.get(name)!, hessian), name).toBeLessThan(1e-5);
    await checkpoint.close();
  });
});

/** The cross-entropies' sum in float64 from the engine's logits, with one weight of the first block changed. */
const lossOf =
  (checkpoint: Checkpoint, inputs: ModelInputs, labels: Labels, weight: string) =>
  async (at: number, by: number): Promise<number> => {
    const read = async (part: Part) => {
      const parameters = await checkpoint.read(part);
      if (part === checkpoint.model.blocks[0]) parameters.get(weight)!.data[at]! += by;
      return parameters;
    };
    const model = await openPlainModel(programs, { ...checkpoint, read });
    const shape = checkpoint.model.stem.inputShape(1);
    const ids = checkpoint.model.reads === 'tokens';
    const data = ids ? new BigInt64Array(inputs.size) : new Float32Array(inputs.size);
    inputs.read([0], data as never);
    const logits = await model.run(programs.runtime.tensor(data, ids ? [1, inputs.size] : shape), 1);
    model.dispose();
    const classes = logits.length / labels.length;
    return labels.reduce((sum, label, row) => {
      if (label < 0) return sum;
      const own = [...logits.subarray(row * classes, (row + 1) * classes)];
      return sum + Math.log(own.reduce((total, x) => total + Math.exp(x), 0)) - own[label]!;
    }, 0);
  };

describe('the gradient that sums are made of', () => {
  it.each([
    ['an image classifier', TINY_VIT, {}],
    ['a language model', TINY_LLAMA, { tokens: 6 }],
  ] as const)('is that of finite differences of the loss of %s', async (_name, config, options) => {
    const { folder, cleanUp } = await temporaryFolder();
    try {
      await writeRandomModel(folder, config);
      const checkpoint = await openCheckpoint(folder, options);
      const { model } = checkpoint;
      const isText = model.reads === 'tokens';
      const inputs: ModelInputs = isText
        ? samplesIn(BigInt64Array.of(3n, 7n, 1n, 9n, 2n, 5n), 1)
        : samplesIn(normals([1, 8, 8], 'picture').data, 1);
      const labels = isText ? Int32Array.of(7, 1, 9, 2, 5, -1) : Int32Array.of(4);
      // One sample: GᵀG of a weight, whose diagonal is the sum of the squares of a column of G.
      const found = await hessiansOf(checkpoint, inputs, labels, 'sequence', { batch: 1 });
      const part = model.blocks[0]!;
      const layer = checkpoint.listing(part).linears[0]!;
      const loss = lossOf(checkpoint, inputs, labels, `${layer.name}.weight`);
      const column = 2;
      let squares = 0;
      for (let row = 0; row < layer.out; row++) {
        const at = row * layer.in + column;
        const slope = ((await loss(at, 1e-2)) - (await loss(at, -1e-2))) / 2e-2;
        squares += slope ** 2;
      }
      const diagonal = found.get(part.prefix + layer.name)![column * layer.in + column]!;
      expect(diagonal / squares).toBeCloseTo(1, 2);
      await checkpoint.close();
    } finally {
      await cleanUp();
    }
  });
});

describe('labels drawn from the prediction', () => {
  it('follow its probabilities, the seed and the row alone', async () => {
    const checkpoint = await goldenModel();
    const cache = await openSampleCache(Infinity);
    // One hidden state, four thousand times: frequencies of labels are its softmax.
    const copies = 4000;
    const store = cache.store(copies / TOKENS, TOKENS * 24);
    const hidden = golden.floats('hidden.2').data.subarray(0, 24);
    store.writeSpan(
      0,
      Float32Array.from({ length: copies * 24 }, (_, i) => hidden[i % 24]!),
    );
    const draw = (seed: number) =>
      drawLabels(programs, checkpoint, store, { seed, isLabelled: (row) => row % 10 !== 9 }, { signal });
    const labels = await draw(1);
    expect(labels.filter((label) => label === -1)).toHaveLength(copies / 10);
    expect(await draw(1)).toEqual(labels);
    expect(await draw(2)).not.toEqual(labels);

    const norm = golden.floats('weights.model.norm.weight').data;
    const rate = 1 / Math.sqrt(hidden.reduce((sum, x) => sum + x * x, 0) / 24 + 1e-5);
    const table = golden.floats('weights.lm_head.weight').data;
    const weights = Array.from({ length: 50 }, (_, token) =>
      Math.exp(hidden.reduce((sum, x, i) => sum + x * rate * norm[i]! * table[token * 24 + i]!, 0)),
    );
    const total = weights.reduce((sum, x) => sum + x, 0);
    for (const [token, weight] of weights.entries()) {
      const [share, n] = [weight / total, 0.9 * copies];
      const found = labels.filter((label) => label === token).length / n;
      // Five standard errors.
      expect(Math.abs(found - share), String(token)).toBeLessThan(5 * Math.sqrt((share * (1 - share)) / n));
    }
    cache.close();
    await checkpoint.close();
  });
});

it('squares of random directions have the curvature of the prediction in the mean', async () => {
  const checkpoint = await goldenModel();
  const cache = await openSampleCache(Infinity);
  const copies = 4000;
  const store = cache.store(copies / TOKENS, TOKENS * 24);
  const hidden = golden.floats('hidden.2').data.subarray(0, 24);
  const fill = (x: ArrayLike<number>) =>
    store.writeSpan(
      0,
      Float32Array.from({ length: copies * 24 }, (_, i) => x[i % 24]!),
    );
  const contents = () => {
    const data = new Float32Array(copies * 24);
    store.readSpan(0, data);
    return data;
  };
  // One hidden state, four thousand times, moved a little along each of a few directions.
  fill(hidden);
  await replaceByCurvature(programs, checkpoint, store, 1, { signal });
  const gradients = contents();
  const head = await openPlainPart(
    programs,
    checkpoint.model.head,
    await checkpoint.read(checkpoint.model.head),
  );
  const logitsOf = async (x: Float32Array) => {
    const logits = await head.run(programs.runtime.tensor(x, [1, 24]), 1);
    return (await programs.runtime.read(logits)).slice();
  };
  const full = await logitsOf(hidden);
  for (const i of [0, 7, 23]) {
    const STEP = 0.02;
    const moved = await logitsOf(hidden.map((x, j) => x + (i === j ? STEP : 0)));
    const curvature = (2 * klDivergence(full, moved)) / STEP ** 2;
    let [sum, fourth] = [0, 0];
    for (let copy = 0; copy < copies; copy++) {
      const square = gradients[copy * 24 + i]! ** 2;
      sum += square;
      fourth += square ** 2;
    }
    const mean = sum / copies;
    const error = Math.sqrt((fourth / copies - mean ** 2) / copies);
    expect(Math.abs(mean - curvature)).toBeLessThan(5 * error + 0.02 * curvature);
    expect(error).toBeLessThan(0.1 * mean);
  }
  head.dispose();
  cache.close();
  await checkpoint.close();
});

it('refuses a model of several chains, whose gradients part ways', async () => {
  const checkpoint = await goldenModel();
  const towered = {
    ...checkpoint,
    model: { ...checkpoint.model, towers: [{ ...checkpoint.model, name: 't' }] },
  };
  await expect(hessiansOf(towered, sequences(), labelsOf(), 'l2')).rejects.toThrow('several chains');
  await checkpoint.close();
});

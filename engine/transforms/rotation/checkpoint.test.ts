import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { maxDifference } from '../../../test/support.js';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../../test/fixtures.js';
import { createRandom } from '../../data/random.js';
import { openSafetensors } from '../../formats/safetensors.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { inputSize, streamFeatures, type Part } from '../../models/model.js';
import { openPlainModel } from '../../execution/model.js';
import { openPlainPart } from '../../execution/part.js';
import { usePrograms } from '../../execution/testing.js';
import { rotateCheckpoint } from './checkpoint.js';
import { drawSigns, signsFromText, signsToText } from './signs.js';

const BATCH = 2;
const TOKENS = 7;
const MISTRAL = { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 3 };
const QWEN2 = { model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] };
const QWEN3 = { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 12 };
const TIED = { tie_word_embeddings: true };

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
// Models here differ, and programs are named by kinds of parts, which are the same.
afterEach(() => programs.release());
afterAll(() => cleanUp());

async function openRandom(name: string, change: object): Promise<Checkpoint> {
  const config = { ...TINY_LLAMA, ...change };
  await writeRandomModel(join(folder, name), config);
  return openCheckpoint(join(folder, name), 'image_size' in change ? {} : { tokens: TOKENS });
}

async function logitsOf(checkpoint: Checkpoint, ids: BigInt64Array): Promise<Float32Array> {
  const model = await openPlainModel(programs, checkpoint);
  const tokens = inputSize(checkpoint.model.stem);
  const batch = ids.length / tokens;
  const logits = await model.run(programs.runtime.tensor(ids, [batch, tokens]), batch);
  model.dispose();
  return logits.slice();
}

const randomIds = () => {
  const random = createRandom(3, 'ids');
  return BigInt64Array.from({ length: BATCH * TOKENS }, () => BigInt(random.integer(TINY_LLAMA.vocab_size)));
};

describe('a rotated checkpoint computes what the original computes', () => {
  it.each<[string, object]>([
    ['LLaMA', {}],
    ['LLaMA with a tied head', TIED],
    ['LLaMA with biases everywhere', { attention_bias: true, mlp_bias: true }],
    ['LLaMA with one key head', { num_key_value_heads: 1 }],
    ['LLaMA of odd sizes', { hidden_size: 24, num_attention_heads: 2, intermediate_size: 88, ...TIED }],
    ['LLaMA with heads wider than the stream', { head_dim: 20 }],
    ['Mistral', MISTRAL],
    ['Mistral with a tied head', { ...MISTRAL, ...TIED }],
    ['Qwen 2', QWEN2],
    ['Qwen 2 with a tied head', { ...QWEN2, ...TIED }],
    ['Qwen 3', QWEN3],
    ['Qwen 3 with biases and a tied head', { ...QWEN3, attention_bias: true, ...TIED }],
  ])('%s', async (name, change) => {
    const checkpoint = await openRandom(name, change);
    const ids = randomIds();
    const original = await logitsOf(checkpoint, ids);
    for (const keys of [false, true]) {
      const rotated = rotateCheckpoint(programs, checkpoint, {
        signs: drawSigns(streamFeatures(checkpoint.model), 5),
        keys,
      });
      expect(maxDifference(await logitsOf(rotated, ids), original), `keys ${keys}`).toBeLessThan(2e-5);
    }
    expect(Math.max(...original) - Math.min(...original)).toBeGreaterThan(0.1);
    await checkpoint.close();
  });

  it('the sample, whose perceptron has 352 = 8·44 channels', async () => {
    const sample = (name: string) => fileURLToPath(new URL(`../../../samples/${name}`, import.meta.url));
    const checkpoint = await openCheckpoint(sample('llama-speeches'));
    const source = await openSafetensors(sample('llama-speeches-reference.safetensors'));
    const [ids, expected] = [await source.readInt('input_ids'), await source.read('logits')];
    const rotated = rotateCheckpoint(programs, checkpoint, {
      signs: drawSigns(streamFeatures(checkpoint.model), 0),
      keys: true,
    });
    expect(maxDifference(await logitsOf(rotated, BigInt64Array.from(ids)), expected)).toBeLessThan(1e-4);
    await source.close();
    await checkpoint.close();
  });
});

describe('what is turned', () => {
  it('is every reader and writer of the stream, the values and the gated product, by the seed', async () => {
    const checkpoint = await openRandom('seeds', QWEN2);
    const read = async (seed: number) => {
      const rotated = rotateCheckpoint(programs, checkpoint, {
        signs: drawSigns(streamFeatures(checkpoint.model), seed),
        keys: true,
      });
      return rotated.read(rotated.model.blocks[0]!);
    };
    const [first, again, other] = [await read(1), await read(1), await read(2)];
    const original = await checkpoint.read(checkpoint.model.blocks[0]!);
    expect(first).toEqual(again);
    const changed = (a: typeof first, b: typeof first) =>
      [...a.keys()].filter((name) => maxDifference(a.get(name)!.data, b.get(name)!.data) > 1e-3);
    const weights = [...original.keys()].filter((name) => name.endsWith('_proj.weight'));
    expect(weights).toHaveLength(7);
    expect(changed(first, other)).toEqual(weights);
    const norms = ['input_layernorm.weight', 'post_attention_layernorm.weight'];
    expect(new Set(changed(first, original))).toEqual(
      new Set([...weights, ...norms, 'self_attn.v_proj.bias']),
    );
    for (const norm of norms) expect(first.get(norm)!.data.every((gain) => gain === 1)).toBe(true);
    await checkpoint.close();
  });

  it('spreads a channel of the stream that stands out over all', async () => {
    const checkpoint = await openRandom('outlier', {});
    const outlier: Checkpoint = {
      ...checkpoint,
      read: async (part) => {
        const parameters = await checkpoint.read(part);
        const table = parameters.get('model.embed_tokens.weight')!;
        for (let row = 0; row < table.shape[0]!; row++) table.data[row * table.shape[1]! + 3] = 8;
        return parameters;
      },
    };
    const peak = async (opened: Checkpoint) => {
      const { stem } = opened.model;
      const part = await openPlainPart(programs, stem, await opened.read(stem));
      const ids = programs.runtime.tensor(randomIds(), [BATCH, TOKENS]);
      const y = await programs.runtime.read(await part.run(ids, BATCH));
      part.dispose();
      return Math.max(...y.map(Math.abs)) / Math.sqrt(y.reduce((sum, v) => sum + v * v, 0) / y.length);
    };
    expect(await peak(outlier)).toBeGreaterThan(3.5);
    expect(
      await peak(
        rotateCheckpoint(programs, outlier, {
          signs: drawSigns(streamFeatures(outlier.model), 1),
          keys: false,
        }),
      ),
    ).toBeLessThan(1.6);
    await checkpoint.close();
  });
});

describe('refuses', () => {
  it.each<[string, object, RegExp]>([
    ['a stream', { hidden_size: 18, head_dim: 4 }, /the stream between blocks has 18 channels/],
    ['a head', { head_dim: 6 }, /a head of model\.layers\.0\.self_attn\.v_proj has 6 channels/],
    ['a perceptron', { intermediate_size: 26 }, /the input of model\.layers\.0\.mlp\.down_proj has 26 chan/],
  ])('a size without a Hadamard matrix: %s', async (name, change, message) => {
    const checkpoint = await openRandom(`refused ${name}`, change);
    const turn = () =>
      rotateCheckpoint(programs, checkpoint, {
        signs: drawSigns(streamFeatures(checkpoint.model), 1),
        keys: false,
      });
    expect(turn).toThrow(message);
    expect(turn).toThrow(/--rotation off/);
    await checkpoint.close();
  });

  it('a family that does not say what to turn', async () => {
    const checkpoint = await openRandom('vit', TINY_VIT);
    expect(() =>
      rotateCheckpoint(programs, checkpoint, {
        signs: drawSigns(streamFeatures(checkpoint.model), 1),
        keys: false,
      }),
    ).toThrow(/models of the family "vit" cannot be rotated/);
    await checkpoint.close();
  });

  it('a model with towers', async () => {
    const checkpoint = await openRandom('towers', {});
    const { stem, blocks } = checkpoint.model;
    const model = { ...checkpoint.model, towers: [{ name: 'tower', stem, blocks }] };
    const options = { signs: drawSigns(streamFeatures(model), 1), keys: false };
    expect(() => rotateCheckpoint(programs, { ...checkpoint, model }, options)).toThrow(
      /models with towers, such as those of the family "llama", cannot be rotated/,
    );
    await checkpoint.close();
  });

  it('a norm of the stream that more than linear layers read: its gain cannot move into them', async () => {
    const checkpoint = await openRandom('post-norm', {});
    const listing = (part: Part) => {
      const own = checkpoint.listing(part);
      return { ...own, norms: own.norms.map((norm) => ({ ...norm, foldable: norm.name === 'model.norm' })) };
    };
    const options = { signs: drawSigns(streamFeatures(checkpoint.model), 1), keys: false };
    expect(() => rotateCheckpoint(programs, { ...checkpoint, listing }, options)).toThrow(
      /what model\.layers\.0\.input_layernorm yields is read by more than linear layers/,
    );
    await checkpoint.close();
  });
});

describe('signs', () => {
  it.each([1, 4, 7, 128])('go to text and back: %i', (size) => {
    const signs = drawSigns(size, 3);
    expect(signsFromText(signsToText(signs), size)).toEqual(signs);
  });

  it('have the first in the highest bit', () => {
    expect(signsToText(Float32Array.of(-1, 1, 1, -1, 1, -1))).toBe('94');
  });

  it('of another size are refused', () => {
    expect(() => signsFromText('94', 9)).toThrow(/up to 8 channels; the model's has 9/);
  });
});

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { maxDifference } from '../../test/support.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { LanguageModel } from '../models/model.js';
import type { Generation } from './generation.js';
import { openPlainModel, type RunnableModel } from './model.js';
import { openElasticModel } from './quantized-model.js';
import { gridSource, usePrograms } from './testing.js';

const programs = usePrograms();
/** More than the least room, so that it is made twice. */
const CONTEXT = 80;
const LLAMA3 = {
  ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
  original_max_position_embeddings: 16,
};
const YARN = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 16 };
const MISTRAL = { model_type: 'mistral', architectures: ['MistralForCausalLM'] };
const QWEN2 = { model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] };
const QWEN3 = { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 6 };

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
});
afterAll(() => cleanUp());

async function open(name: string, change: object): Promise<Checkpoint<LanguageModel>> {
  const path = join(folder, name);
  await writeRandomModel(path, { ...TINY_LLAMA, max_position_embeddings: CONTEXT, ...change });
  return (await openCheckpoint(path)) as Checkpoint<LanguageModel>;
}

const likeliest = (logits: Float32Array) => logits.indexOf(Math.max(...logits));

/** Greedily, by what was kept, beside the whole text run anew for each token. */
async function compare(model: RunnableModel, start: readonly number[], count: number): Promise<number[]> {
  const generation = model.generation()!;
  const ids = [...start];
  for (let logits = await generation.begin(ids); ; logits = await generation.follow(ids.at(-1)!)) {
    const text = programs.runtime.tensor(BigInt64Array.from(ids, BigInt), [1, ids.length]);
    const anew = await model.row(text, ids.length - 1);
    expect(maxDifference(logits, anew)).toBeLessThan(1e-4);
    expect(likeliest(logits)).toBe(likeliest(anew));
    if (ids.length === start.length + count) return ids;
    ids.push(likeliest(logits));
  }
}

describe('a text that goes on', () => {
  it.each<[string, object]>([
    ['LLaMA', {}],
    ['a key head for each', { num_key_value_heads: 4 }],
    ['one key head', { num_key_value_heads: 1 }],
    ['biases and a tied head', { attention_bias: true, mlp_bias: true, tie_word_embeddings: true }],
    ['linear scaling', { rope_scaling: { type: 'linear', factor: 4 } }],
    ['Llama 3 scaling', { rope_scaling: LLAMA3, head_dim: 12 }],
    ['YaRN, whose turns have a gain', { rope_scaling: YARN, head_dim: 12 }],
    ['Mistral', { ...MISTRAL, sliding_window: null }],
    ['a window', { ...MISTRAL, sliding_window: 5 }],
    ['a window of one token', { ...MISTRAL, sliding_window: 1 }],
    [
      'layers with and without a window',
      { ...MISTRAL, sliding_window: 3, layer_types: ['full_attention', 'sliding_attention'] },
    ],
    ['Qwen 2', QWEN2],
    ['Qwen 3', QWEN3],
  ])('has the tokens of the whole text run anew: %s', async (name, change) => {
    const checkpoint = await open(name, change);
    const model = await openPlainModel(programs, checkpoint);
    await compare(model, [3, 1, 4, 1, 5], 8);
    model.dispose();
    await checkpoint.close();
  });

  it('keeps nothing where turns change with its length', async () => {
    const checkpoint = await open('dynamic', { rope_scaling: { type: 'dynamic', factor: 4 } });
    const model = await openPlainModel(programs, checkpoint);
    expect(model.generation()).toBeUndefined();
    model.dispose();
    await checkpoint.close();
  });

  it('has them beyond the room that was first made, and from one token', async () => {
    const checkpoint = await open('long', {});
    const model = await openPlainModel(programs, checkpoint);
    const text = Array.from({ length: 60 }, (_, i) => (7 * i + 2) % 11);
    expect(await compare(model, text, 12)).toHaveLength(72);
    await compare(model, [9], 3);
    model.dispose();
    await checkpoint.close();
  });
});

describe('a model that is switched in the middle of a text', () => {
  const text = [3, 1, 4, 1, 5];
  const run = async (generation: Generation, ids: readonly number[]) => {
    let logits = await generation.begin(ids.slice(0, text.length));
    for (const id of ids.slice(text.length)) logits = await generation.follow(id);
    return logits;
  };

  it('goes on as one does that begins with that text, to the bit', async () => {
    const checkpoint = await open('switched', {});
    const settings = { groupSizeOf: () => -1, activation: () => undefined };
    const source = gridSource(programs, checkpoint, [8, 4, 2], settings);
    const model = await openElasticModel(programs, source, 0, { oneByOne: true });
    await model.use(8);
    const generation = model.generation()!;
    await run(generation, [...text, 2, 6]);
    await model.use(2);
    const switched = await generation.follow(5);
    const fresh = await model.generation()!.begin([...text, 2, 6, 5]);
    expect(switched).toEqual(fresh);
    // Without the switch it would have been another text's end.
    await model.use(8);
    expect(maxDifference(await run(model.generation()!, [...text, 2, 6, 5]), fresh)).toBeGreaterThan(1e-3);
    // What follows is of the new bits, too.
    await model.use(2);
    const next = await generation.follow(7);
    expect(maxDifference(next, await model.generation()!.begin([...text, 2, 6, 5, 7]))).toBeLessThan(1e-4);
    model.dispose();
    await checkpoint.close();
  });
});

/** ONNX folders of language models and picture classifiers, run in ONNX Runtime alone. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { layerNames } from '../engine/execution/model.js';
import { normals, usePrograms } from '../engine/execution/testing.js';
import { onnx } from '../engine/exporters/onnx/onnx.js';
import { makeRoundingSet, withExportContext, writeTokenizer } from './exports.js';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from './fixtures.js';
import { int64, logitsOfSet, openExact } from './onnx-run.js';
import { maxDifference } from './support.js';
import { TINY } from './tiny.js';

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

const LONGER = { ...TINY_LLAMA, hidden_size: 64, intermediate_size: 80, vocab_size: 19 };
const MODELS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  llama: LONGER,
  tied: { ...LONGER, tie_word_embeddings: true, attention_bias: true, mlp_bias: true },
  qwen3: { ...LONGER, model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 16 },
  mistral: { ...LONGER, model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 3 },
  vit: TINY_VIT,
  deit: TINY.deit!,
  beit: TINY.beit!,
  swin: TINY.swin!,
};

async function exported(model: string, bits: number): Promise<ort.InferenceSession> {
  const out = `${model}-${bits}`;
  await withExportContext(programs, at(model), at(`${model}-set`), bits, async (context, fits) => {
    expect(onnx.refuse(context)).toBeUndefined();
    const { bytes, isExact } = await onnx.size(context);
    await onnx.write(context, at(out));
    expect({ bytes, isExact }).toEqual({ bytes: await sizeOf(at(out)), isExact: true });
    expect(new Set(fits.map(({ distance }) => distance))).toEqual(new Set([0]));
    const layers = layerNames(context.original).map((name) => fits.find(({ tensor }) => tensor === name));
    expect(layers).not.toContain(undefined);
  });
  const { written, session } = await openExact(at(out));
  for (const { opType, attributes } of written.graph.nodes)
    expect(attributes.accuracy_level).toEqual(
      opType === 'MatMulNBits' ? { type: 'int', value: 4 } : undefined,
    );
  return session;
}

async function sizeOf(path: string): Promise<number> {
  const files = await readdir(path, { recursive: true, withFileTypes: true });
  const sizes = files
    .filter((file) => file.isFile())
    .map((file) => readFile(join(file.parentPath, file.name)));
  return (await Promise.all(sizes)).reduce((sum, { length }) => sum + length, 0);
}

const ours = (model: string, bits: number, data: Float32Array | BigInt64Array, shape: readonly number[]) =>
  logitsOfSet(programs, at(model), at(`${model}-set`), bits, data, shape);

describe.each(['llama', 'tied', 'qwen3', 'mistral'])('%s', (name) => {
  beforeAll(async () => {
    await writeRandomModel(at(name), MODELS[name]);
    await writeTokenizer(at(name));
    await makeRoundingSet(programs, at(name), at(`${name}-set`));
  });

  it.each(name === 'llama' ? [2, 3, 4, 5, 8] : [4])(
    'at %i bits goes on from its cache as the set does',
    async (bits) => {
      const session = await exported(name, bits);
      const [batch, length, first] = [2, 9, 5];
      const ids = Array.from({ length: batch * length }, (_, i) => (i * 7 + 3) % 19);
      const expected = await ours(name, bits, BigInt64Array.from(ids, BigInt), [batch, length]);
      const caches = session.inputNames.filter((each) => each.startsWith('past_key_values.'));
      let past: Readonly<Record<string, ort.Tensor>> = Object.fromEntries(
        caches.map((each) => [each, new ort.Tensor('float32', new Float32Array(), [batch, 2, 0, 16])]),
      );
      const logits: Float32Array[] = [];
      for (const [start, end] of [
        [0, first],
        [first, first + 1],
        [first + 1, length],
      ] as const) {
        const count = end - start;
        const rows = [0, 1].flatMap((row) => ids.slice(row * length + start, row * length + end));
        const places = [0, 1].flatMap(() => Array.from({ length: count }, (_, i) => start + i));
        const outputs = await session.run({
          input_ids: int64(rows, [batch, count]),
          attention_mask: int64(Array<number>(batch * end).fill(1), [batch, end]),
          position_ids: int64(places, [batch, count]),
          ...past,
        });
        logits.push(outputs.logits!.data as Float32Array);
        past = Object.fromEntries(
          caches.map((each) => [each, outputs[each.replace('past_key_values', 'present')]!]),
        );
        expect(outputs.logits!.dims).toEqual([batch, count, 19]);
      }
      const joined = Float32Array.from(
        [0, 1].flatMap((row) =>
          logits.flatMap((part) => [
            ...part.subarray((row * part.length) / 2, ((row + 1) * part.length) / 2),
          ]),
        ),
      );
      const spread = Math.max(...expected) - Math.min(...expected);
      expect(maxDifference(joined, expected) / spread).toBeLessThan(1e-4);
      await session.release();
    },
  );
});

it('a text that is filled up in front is read as alone', async () => {
  const session = await ort.InferenceSession.create(at('llama-4', 'onnx', 'model_q4.onnx'));
  const run = async (ids: readonly number[], mask: readonly number[]) => {
    const places = mask.map((_, i) => Math.max(0, mask.slice(0, i + 1).reduce((a, b) => a + b) - 1));
    const caches = session.inputNames.filter((each) => each.startsWith('past_key_values.'));
    const { logits } = await session.run({
      input_ids: int64(ids, [1, ids.length]),
      attention_mask: int64(mask, [1, mask.length]),
      position_ids: int64(places, [1, ids.length]),
      ...Object.fromEntries(
        caches.map((each) => [each, new ort.Tensor('float32', new Float32Array(), [1, 2, 0, 16])]),
      ),
    });
    return (logits!.data as Float32Array).slice(-19);
  };
  const alone = await run([3, 4, 5], [1, 1, 1]);
  const filled = await run([0, 0, 3, 4, 5], [0, 0, 1, 1, 1]);
  expect(maxDifference(filled, alone)).toBeLessThan(1e-5);
  await session.release();
});

describe.each(['vit', 'deit', 'beit', 'swin'])('%s', (name) => {
  const side = MODELS[name]!.image_size as number;
  it('scores any number of pictures as the set does', async () => {
    await writeRandomModel(at(name), MODELS[name]);
    await makeRoundingSet(programs, at(name), at(`${name}-set`));
    for (const bits of [4, 8]) {
      const session = await exported(name, bits);
      for (const count of [1, 3]) {
        const { data } = normals([count, 1, side, side], 'pictures');
        const { logits } = await session.run({
          pixel_values: new ort.Tensor('float32', data, [count, 1, side, side]),
        });
        const expected = await ours(name, bits, data, [count, 1, side, side]);
        expect(logits!.dims).toEqual([count, 6]);
        const spread = Math.max(...expected) - Math.min(...expected);
        expect(maxDifference(logits!.data as Float32Array, expected) / spread).toBeLessThan(1e-4);
      }
      await session.release();
    }
  });
});

it('tells transformers.js and onnxruntime-genai where the model lies', async () => {
  const read = async (file: string) =>
    JSON.parse(await readFile(at('llama-4', file), 'utf8')) as Record<string, unknown>;
  expect(await read('config.json')).toMatchObject({
    hidden_size: 64,
    'transformers.js_config': { use_external_data_format: { 'model_q4.onnx': 1 } },
  });
  expect(await read('genai_config.json')).toMatchObject({
    model: {
      type: 'llama',
      vocab_size: 19,
      decoder: { filename: 'onnx/model_q4.onnx', num_hidden_layers: 2, head_size: 16 },
    },
  });
  expect((await readdir(at('llama-4'))).sort()).toEqual([
    ...['config.json', 'genai_config.json', 'onnx', 'tokenizer.json', 'tokenizer_config.json'],
  ]);
});

/** ONNX folders of sets that quantize weights and activations, and of rotated models, run in ONNX Runtime alone. */
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { normals, usePrograms } from '../engine/execution/testing.js';
import { onnx } from '../engine/exporters/onnx/onnx.js';
import { bytesAt } from '../engine/formats/sizes.js';
import type { CalibrateRequest } from '../engine/protocol/protocol.js';
import { makeSmallSet, SAMPLES, withExportContext, writeTokenizer } from './exports.js';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from './fixtures.js';
import { expectSame, logitsOfSet, logitsOfTexts, openExact } from './onnx-run.js';
import { TINY } from './tiny.js';

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

const BITS = [2, 4, 6, 7, 8];
const QUEPT = { epochs: 1, batch: 2, rank: 1 };
const BOTH = 'weight-activation' as const;
/** Rows of the perceptron are longer than a group. */
const VIT = { ...TINY_VIT, intermediate_size: 160 };
const LLAMA = { ...TINY_LLAMA, hidden_size: 64, intermediate_size: 192, vocab_size: 19 };
const QWEN3 = { ...LLAMA, model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 16 };

/** Embedding and head are at 8 bits, what enters the embedding as it is. */
const INTEGERS_AND_ENDS = ['MatMulNBits', 'MatMulInteger', 'MatMulNBits rounding'];
const INTEGERS = ['MatMulInteger'];

interface Case {
  readonly name: string;
  readonly config: object;
  readonly asked: Partial<CalibrateRequest>;
  /** Settings that no option has. */
  readonly changed?: object;
  /** Operators of its products. */
  readonly operators: readonly string[];
}

const pictures: readonly Case[] = [
  {
    ...{ name: 'vit, rounding', config: VIT, operators: INTEGERS_AND_ENDS },
    asked: { method: 'rounding', mode: BOTH, bits: BITS },
  },
  {
    ...{ name: 'vit, quept', config: VIT, operators: INTEGERS_AND_ENDS },
    asked: { method: 'quept', mode: BOTH, bits: BITS, options: QUEPT },
  },
  {
    ...{ name: 'vit in groups', config: VIT, operators: INTEGERS_AND_ENDS }, // prettier-ignore
    asked: { method: 'rounding', mode: BOTH, bits: [4, 2] },
    changed: { groupSize: 128 },
  },
  {
    ...{ name: 'swin, rounding', config: TINY.swin!, operators: INTEGERS_AND_ENDS },
    asked: { method: 'rounding', mode: BOTH, bits: BITS },
  },
];
const texts: readonly Case[] = [
  {
    ...{ name: 'llama, rounding', config: LLAMA, operators: INTEGERS },
    asked: { method: 'rounding', mode: BOTH, bits: BITS, options: { rotation: 'off' } },
  },
  {
    ...{ name: 'llama, rotated', config: LLAMA, operators: INTEGERS },
    asked: { method: 'rounding', mode: BOTH, bits: BITS, options: { rotation: 'on' } },
  },
  {
    ...{ name: 'llama in groups', config: LLAMA, operators: ['MatMulInteger', 'MatMulNBits'] },
    asked: { method: 'rounding', mode: BOTH, bits: [4, 2] },
    changed: { groupSize: 128 },
  },
  {
    ...{ name: 'tied llama, static', config: { ...LLAMA, tie_word_embeddings: true }, operators: INTEGERS }, // prettier-ignore
    asked: { method: 'rounding', mode: BOTH, bits: BITS, options: { rotation: 'off' } },
    changed: { activations: 'static', samples: SAMPLES },
  },
  {
    ...{ name: 'tied qwen3, quept', config: { ...QWEN3, tie_word_embeddings: true }, operators: INTEGERS }, // prettier-ignore
    asked: { method: 'quept', mode: BOTH, bits: BITS, options: QUEPT },
  },
];

async function prepare({ name, config, asked, changed }: Case): Promise<void> {
  await writeRandomModel(at(name), config as Readonly<Record<string, unknown>>);
  if ('vocab_size' in config) await writeTokenizer(at(name));
  await makeSmallSet(programs, at(name), at(`${name}-set`), asked, changed);
}

async function exported({ name }: Case, bits: number) {
  const out = at(`${name}-${bits}`);
  await withExportContext(programs, at(name), at(`${name}-set`), bits, async (context) => {
    expect(onnx.refuse(context)).toBeUndefined();
    const { bytes } = await onnx.size(context);
    await onnx.write(context, out);
    expect(await bytesAt(out)).toBe(bytes);
  });
  const { written, session } = await openExact(out);
  const products = written.graph.nodes
    .filter(({ opType }) => /Integer|NBits/.test(opType))
    .map(({ opType, attributes }) => opType + ('accuracy_level' in attributes ? ' rounding' : ''));
  return { session, products: [...new Set(products)] };
}

const ours = ({ name }: Case, bits: number, data: Float32Array | BigInt64Array, shape: readonly number[]) =>
  logitsOfSet(programs, at(name), at(`${name}-set`), bits, data, shape);

describe.each(pictures)('$name', (one) => {
  beforeAll(() => prepare(one));
  it.each(one.asked.bits!)('at %i bits scores pictures as the set does', async (bits) => {
    const { session, products } = await exported(one, bits);
    expect(products).toEqual(one.operators);
    const shape = [3, 1, ...session.inputMetadata.flatMap((port) => ('shape' in port ? port.shape.slice(2) : []))] as number[]; // prettier-ignore
    const { data } = normals([shape.reduce((a, b) => a * b)], 'pictures');
    const { logits } = await session.run({ pixel_values: new ort.Tensor('float32', data, shape) });
    expectSame(logits!.data as Float32Array, await ours(one, bits, data, shape));
    await session.release();
  });
});

describe.each(texts)('$name', (one) => {
  beforeAll(() => prepare(one));
  it.each(one.asked.bits!)('at %i bits reads texts as the set does', async (bits) => {
    const { session, products } = await exported(one, bits);
    expect(products).toEqual(one.operators);
    const [batch, length] = [2, 9];
    const ids = Array.from({ length: batch * length }, (_, i) => (i * 7 + 3) % 19);
    const expected = await ours(one, bits, BigInt64Array.from(ids, BigInt), [batch, length]);
    expectSame(await logitsOfTexts(session, ids, [batch, length]), expected);
    await session.release();
  });
});

it('a grid without zero is refused, by the list of formats too', async () => {
  const [{ name }] = pictures as [Case];
  await withExportContext(programs, at(name), at(`${name}-set`), 8, async (context) => {
    for (const zero of [-1, 256, 2.5]) {
      const source = { ...context.source, activation: () => Promise.resolve({ scale: 0.1, zero }) };
      await expect(onnx.size({ ...context, source })).rejects.toThrow(
        /^What enters "vit\.encoder\.layer\.0\.\S+" is on a grid without zero/,
      );
    }
  });
});

it('quantized keys and values are refused before work, and so is what is rotated with them', async () => {
  const [, { name }] = texts as [Case, Case];
  await withExportContext(programs, at(name), at(`${name}-set`), 8, (context) => {
    expect(onnx.refuse(context)).toBeUndefined();
    expect(onnx.refuse({ ...context, source: { ...context.source, cache: 4 } })).toMatch(/keys and values/);
    const transforms = [{ name: 'rotation', signs: '00', keys: true }];
    expect(onnx.refuse({ ...context, config: { ...context.config, transforms } })).toMatch(/\(rotation\)/);
    return Promise.resolve();
  });
});

import { afterEach, describe, expect, it } from 'vitest';
import { maxDifference } from '../../test/support.js';
import { openPlainPart } from '../execution/part.js';
import { secondMoments } from '../execution/moments.js';
import { rescaledParameters } from './rescaling.js';
import { smooth, smoothingSites } from './smooth.js';
import {
  normals,
  quantizedRow,
  rowsOf,
  tinyBlock,
  tinyDecoderBlock,
  usePrograms,
  type Block,
} from '../execution/testing.js';

const BATCH = 4;
const programs = usePrograms();
// Blocks of different configurations have one kind.
afterEach(() => programs.release());
const setting = { bits: [2, 3], groupSizeOf: () => -1 };

const QWEN = { model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] };
const inputsOf = ({ part }: Pick<Block, 'part'>) => normals(part.inputShape(BATCH), 'x').data;
const momentsOf = (block: Block) => secondMoments(programs, block, [{ x: inputsOf(block) }], BATCH, 128);
const smoothed = async (block: Block) => smooth(programs, block, await momentsOf(block), setting);

async function run({ part, parameters }: Block): Promise<Float32Array> {
  const { runtime } = programs;
  const plain = await openPlainPart(programs, part, parameters);
  const x = runtime.tensor(inputsOf({ part }), part.inputShape(BATCH));
  const output = await runtime.read(await plain.run(x, BATCH));
  plain.dispose();
  return output.slice();
}

describe.each([
  ['shared keys', tinyDecoderBlock()],
  ['a head of keys each', tinyDecoderBlock({ num_attention_heads: 2, num_key_value_heads: 2 })],
  ['biases', tinyDecoderBlock(QWEN)],
  ['layer norms', tinyBlock()],
])('a smoothed block with %s', (_, block) => {
  it('is the same function in full precision', async () => {
    const tensors = await smoothed(block);
    expect(tensors.size).toBeGreaterThan(0);
    const changed = { ...block, parameters: rescaledParameters(block.parameters, tensors) };
    expect(maxDifference(await run(changed), await run(block))).toBeLessThan(1e-4);
  });
});

it('smooths behind norms, between values and output, and before the last product', () => {
  const { part, listing } = tinyDecoderBlock();
  const names = smoothingSites(part, listing).map(({ layers, absorber }) => [
    layers.map((l) => l.name),
    absorber,
  ]);
  expect(names).toEqual([
    [['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'], { norm: 'input_layernorm' }],
    [['mlp.gate_proj', 'mlp.up_proj'], { norm: 'post_attention_layernorm' }],
    [['self_attn.o_proj'], { layer: 'self_attn.v_proj' }],
    [['mlp.down_proj'], { layer: 'mlp.up_proj' }],
  ]);
});

/** Σ over layers of the mean squared output error that rounding to the whole range at 3 bits makes, in float64. */
function outputError(
  layers: readonly string[],
  { parameters }: Block,
  inputs: readonly number[][],
  scale: ArrayLike<number>,
): number {
  let sum = 0;
  for (const name of layers)
    for (const row of rowsOf(parameters.get(`${name}.weight`)!)) {
      const quantized = quantizedRow(
        row.map((w, c) => w * scale[c]!),
        3,
        8,
        8,
      );
      const error = quantized.map((q, c) => q / scale[c]! - row[c]!);
      for (const x of inputs) sum += error.reduce((total, e, c) => total + e * x[c]!, 0) ** 2;
    }
  return sum / inputs.length;
}

it('lowers the output error where a few channels stand out', async () => {
  const block = tinyDecoderBlock();
  const norm = block.parameters.get('post_attention_layernorm.weight')!;
  norm.data[3] = 30;
  norm.data[9] = 25;
  const tensors = await smoothed(block);
  const scale = tensors.get('mlp.gate_proj.input_scale')!.data;
  expect(tensors.get('mlp.up_proj.input_scale')!.data).toEqual(scale);
  expect(Math.min(scale[3]!, scale[9]!)).toBeGreaterThan(
    Math.max(...scale.filter((_, c) => c !== 3 && c !== 9)),
  );
  const inputs = rowsOf(normals([200, 16], 'normalised')).map((x) => x.map((v, c) => v * norm.data[c]!));
  const layers = ['mlp.gate_proj', 'mlp.up_proj'];
  const plain = outputError(layers, block, inputs, new Float32Array(16).fill(1));
  expect(outputError(layers, block, inputs, scale)).toBeLessThan(0.7 * plain);
});

it('survives channels that are never used', async () => {
  const block = tinyDecoderBlock();
  block.parameters.get('input_layernorm.weight')!.data.fill(0, 0, 4);
  const tensors = await smoothed(block);
  for (const { data } of tensors.values()) expect(data.every(Number.isFinite)).toBe(true);
});

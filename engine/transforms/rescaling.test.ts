import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../test/support.js';
import { secondMoments } from '../execution/moments.js';
import { openElasticPart } from '../execution/quantized-part.js';
import type { NamedTensors } from '../execution/tensors.js';
import {
  normals,
  roundedBlock,
  tinyBlock,
  tinyDecoderBlock,
  usePrograms,
  type Block,
} from '../execution/testing.js';
import type { Checkpoint, HostTensor } from '../models/checkpoint.js';
import { composed, rescaled, rescaledParameters } from './rescaling.js';
import { smooth } from './smooth.js';
import { foldedBlock } from './testing.js';

const programs = usePrograms();
const BATCH = 4;
const QWEN = { model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] };

type Parameters = ReadonlyMap<string, HostTensor>;
const inputsOf = ({ part }: Block) => normals(part.inputShape(BATCH), 'x').data;

/** Folded norms of a block with these parameters. */
const folding = async (block: Block, parameters: Parameters): Promise<NamedTensors> =>
  (await foldedBlock(programs, block, parameters, inputsOf(block), BATCH, 4)).tensors;

async function smoothing(block: Block, parameters: Parameters): Promise<NamedTensors> {
  const { part, listing } = block;
  const own = { part, listing, parameters };
  const moments = await secondMoments(programs, own, [{ x: inputsOf(block) }], BATCH, 128);
  return smooth(programs, own, moments, { bits: [2, 3], groupSizeOf: () => -1 });
}

/** Numbers that a rescaling may hold: scales around 1, anything for biases and norms. */
function randomly(block: Block, parameters: Parameters, seed: string): NamedTensors {
  const tensors: NamedTensors = new Map();
  const scale = (name: string, size: number) =>
    tensors.set(name, { shape: [size], data: normals([size], name, seed).data.map((x) => Math.exp(x / 2)) });
  for (const { name, in: columns, out } of block.listing.linears) {
    scale(`${name}.input_scale`, columns);
    scale(`${name}.output_scale`, out);
    if (parameters.has(`${name}.bias`) || seed !== 'first')
      tensors.set(`${name}.bias`, normals([out], name, seed));
  }
  for (const { name, features } of block.listing.norms)
    tensors.set(`${name}.weight`, normals([features], name, seed));
  return tensors;
}

/** A layer without a bias may get one: parts that give every layer a bias run all parameters alike. */
async function run(block: Block, parameters: Parameters): Promise<Float32Array> {
  const part = await openElasticPart(programs, block.part, block.listing, roundedBlock({ parameters }));
  const x = programs.runtime.tensor(inputsOf(block), block.part.inputShape(BATCH));
  const y = (await programs.runtime.read(await part.run(x, BATCH))).slice();
  part.dispose();
  await programs.release();
  return y;
}

function expectAlike(found: Parameters, expected: Parameters): void {
  expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, { data, shape }] of expected) {
    expect(found.get(name)!.shape, name).toEqual(shape);
    const size = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    expect(maxDifference(found.get(name)!.data, data), name).toBeLessThanOrEqual(1e-6 * size);
  }
}

/** The tiny ViT's block with its values known as such, so that their output is scaled: norms, layers and folds with biases. */
function scaledValues(): Block {
  const block = tinyBlock();
  const of = (name: string) => `attention.attention.${name}`;
  const attention = {
    size: 8,
    queries: of('q'),
    keys: of('k'),
    values: of('v'),
    valueLayer: of('value'),
    outputLayer: 'attention.output.dense',
  };
  return { ...block, part: { ...block.part, roles: { writers: [], norms: [], attention } } };
}

const blocks: [string, Block][] = [
  ['biases everywhere', tinyBlock()],
  ['no biases of queries, keys and values', tinyBlock({ qkv_bias: false })],
  ['biases everywhere, and values scaled', scaledValues()],
  ['norms without bias', tinyDecoderBlock()],
  ['norms without bias, and biases of queries, keys and values', tinyDecoderBlock(QWEN)],
];
type Make = (block: Block, parameters: Parameters) => Promise<NamedTensors> | NamedTensors;
const orders: [string, readonly Make[]][] = [
  ['folding, then smoothing', [folding, smoothing]],
  ['smoothing, then folding', [smoothing, folding]],
  ['smoothing twice', [smoothing, smoothing]],
  [
    'numbers at random',
    [
      (block, parameters) => randomly(block, parameters, 'first'),
      (block, parameters) => randomly(block, parameters, 'second'),
    ],
  ],
];

describe.each(blocks)('of a block with %s', (_, block) => {
  it.each(orders)('%s is what both make of it one after the other', async (_order, makes) => {
    const [first, next] = makes as [Make, Make];
    const one = await first(block, block.parameters);
    const between = rescaledParameters(block.parameters, one);
    const two = await next(block, between);
    expectAlike(rescaledParameters(block.parameters, composed(one, two)), rescaledParameters(between, two));
  });

  it('three are joined in either way', () => {
    const [a, b, c] = ['first', 'second', 'third'].map((seed) => randomly(block, block.parameters, seed)) as [
      NamedTensors,
      NamedTensors,
      NamedTensors,
    ];
    const left = rescaledParameters(block.parameters, composed(composed(a, b), c));
    expectAlike(rescaledParameters(block.parameters, composed(a, composed(b, c))), left);
  });

  it.each(orders.slice(0, 2))('%s leaves the function as it was', async (_order, makes) => {
    const [first, next] = makes as [Make, Make];
    const one = await first(block, block.parameters);
    const two = await next(block, rescaledParameters(block.parameters, one));
    const changed = rescaledParameters(block.parameters, composed(one, two));
    expect(maxDifference(await run(block, changed), await run(block, block.parameters))).toBeLessThan(1e-3);
  });
});

it('has blocks with a bias that is replaced behind an output scale', async () => {
  const block = scaledValues();
  const scales = await smoothing(block, block.parameters);
  const folds = await folding(block, rescaledParameters(block.parameters, scales));
  const names = [...scales.keys()].filter((name) => name.endsWith('.output_scale'));
  expect(names).toEqual(['attention.attention.value.output_scale']);
  expect(folds.has('attention.attention.value.bias')).toBe(true);
});

describe('rescaledParameters', () => {
  const parameters = new Map<string, HostTensor>([
    ['layer.weight', { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
    ['layer.bias', { shape: [2], data: Float32Array.of(10, 20) }],
    ['plain.weight', { shape: [1, 2], data: Float32Array.of(7, 8) }],
    ['norm.weight', { shape: [3], data: Float32Array.of(1, 1, 1) }],
  ]);
  const tensor = (...data: number[]) => ({ shape: [data.length], data: Float32Array.from(data) });
  const changed = (tensors: Record<string, HostTensor>) =>
    rescaledParameters(parameters, new Map(Object.entries(tensors)));
  const valuesOf = (found: Parameters, name: string) => [...found.get(name)!.data];

  it('scales columns, rows and biases', () => {
    const found = changed({
      'layer.input_scale': tensor(1, 10, 100),
      'layer.output_scale': tensor(2, 3),
    });
    expect(valuesOf(found, 'layer.weight')).toEqual([2, 40, 600, 12, 150, 1800]);
    expect(found.get('layer.weight')!.shape).toEqual([2, 3]);
    expect(valuesOf(found, 'layer.bias')).toEqual([20, 60]);
  });

  it.each([
    ['before', ['layer.bias', 'layer.output_scale']],
    ['behind', ['layer.output_scale', 'layer.bias']],
  ])('multiplies a bias that is replaced, whether it is named %s the scale', (_, order) => {
    const own: Record<string, HostTensor> = {
      'layer.bias': tensor(1, -1),
      'layer.output_scale': tensor(2, 3),
    };
    expect(
      valuesOf(changed(Object.fromEntries(order.map((name) => [name, own[name]!]))), 'layer.bias'),
    ).toEqual([2, -3]);
  });

  it('gives a bias to a layer without one, and none by a scale alone', () => {
    expect(valuesOf(changed({ 'plain.bias': tensor(5) }), 'plain.bias')).toEqual([5]);
    const found = changed({ 'plain.output_scale': tensor(2) });
    expect(found.has('plain.bias')).toBe(false);
    expect(valuesOf(found, 'plain.weight')).toEqual([14, 16]);
  });

  it('leaves alone what it has nothing for, and what it is given', () => {
    const before = [...parameters].map(([name, { data }]) => [name, [...data]] as const);
    const found = changed({
      'norm.weight': tensor(2, 3, 4),
      'layer.input_scale': tensor(0, 0, 0),
      'layer.lora_A': tensor(1),
      'layer.clip_upper.4': tensor(1),
      'layer.act_scale.8': tensor(1),
    });
    expect([...found.keys()]).toEqual([...parameters.keys()]);
    expect(found.get('plain.weight')).toBe(parameters.get('plain.weight'));
    expect(valuesOf(found, 'norm.weight')).toEqual([2, 3, 4]);
    for (const [name, data] of before) expect(valuesOf(parameters, name)).toEqual(data);
  });
});

it('rescales the blocks of a checkpoint, and reads nothing else of what a set keeps of them', async () => {
  const block = tinyBlock();
  const stem = { ...block.part, prefix: 'stem.' };
  const checkpoint = {
    model: { blocks: [block.part], stem },
    read: () => Promise.resolve(new Map(block.parameters)),
  } as unknown as Checkpoint;
  const own = randomly(block, block.parameters, 'second');
  const all = new Map([...own, ['intermediate.dense.lora_A', normals([1, 16], 'lora')]]);
  const changed = rescaled(checkpoint, () => Promise.resolve(all));
  expect(await changed.read(block.part)).toEqual(rescaledParameters(block.parameters, own));
  expect(await changed.read(stem)).toEqual(block.parameters);
});

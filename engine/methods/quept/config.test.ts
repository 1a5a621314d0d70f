import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { DTYPE_BYTES } from '../../formats/safetensors-header.js';
import { writeSetFiles, type SetTensor } from '../../formats/set.js';
import type { SetConfig } from '../../formats/set-config.js';
import { complaint, useTemporaryFolder } from '../../formats/testing.js';
import { normals } from '../../execution/testing.js';
import { sizeOf } from '../../graph/ir.js';
import { expectedTensors, openAdapterSet, writeAdapterSet } from '../sets.js';
import { elasticSettings, queptParts, queptTensors, readQueptConfig } from './config.js';
import { DEFAULT_TEXT } from './options.js';
import { asStored, storedElements, storedReader } from './stored.js';

const at = useTemporaryFolder();

const own = {
  bit_groups: [
    { bits: [8, 6], rank: 1, gain: 1 },
    { bits: [4], rank: 2, gain: 1 },
  ],
  products: ['attention.q'],
  hyperparameters: { epochs: 20, fold: true, optimizer: 'adam', lambda: [0.3, 0.7] },
  losses: [{ block: '0', first: { high: 0.5, low: 1.5 }, last: { high: 0.25, low: 1 } }],
};
const config: SetConfig = {
  schema_version: 2,
  engine_version: '0.1.0',
  mode: 'weight-activation',
  model: { family: 'vit', fingerprint: 'a'.repeat(64), name: 'vit-fashion' },
  calibration: { fingerprint: 'b'.repeat(64), samples: 1024, name: 'fashion' },
  seed: 7,
  offered: [8, 6, 4],
  embedding_bits: 8,
  head_bits: 16,
  transforms: [{ name: 'rescaling', norms: { norm1: 5 } }],
  layers: {
    q: { in: 5, out: 3, group_size: -1, input: 'q' },
    k: { in: 5, out: 2, group_size: { 4: 2, 6: -1, 8: -1 }, input: 'q' },
  },
  method: { name: 'quept', ...own },
};
const withOwn = (change: object): SetConfig => ({ ...config, method: { ...config.method, ...change } });

function tensor(...shape: number[]): SetTensor {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5) };
}

const positive = (shape: readonly number[], name: string): SetTensor => ({
  shape,
  data: normals(shape, name).data.map(Math.abs),
});

function tensorsOf(): Map<string, SetTensor> {
  const tensors = new Map<string, SetTensor>([
    ['q.lora_A', tensor(2, 5)],
    ['q.lora_B', tensor(3, 2)],
    ['k.lora_A', tensor(2, 5)],
    ['k.lora_B', tensor(2, 2)],
    ['q.input_scale', tensor(5)],
    ['q.output_scale', tensor(3)],
    ['k.bias', tensor(2)],
    ['norm1.weight', tensor(5)],
    ['norm1.bias', tensor(5)],
  ]);
  for (const bits of [8, 6, 4]) {
    for (const side of ['upper', 'lower']) {
      tensors.set(`q.clip_${side}.${bits}`, tensor(3, 1));
      tensors.set(`k.clip_${side}.${bits}`, tensor(bits === 4 ? 6 : 2, 1));
    }
    for (const owner of ['q', 'attention.q']) {
      tensors.set(`${owner}.act_scale.${bits}`, tensor(1));
      tensors.set(`${owner}.act_zero.${bits}`, tensor(1));
    }
  }
  return tensors;
}

const write = (tensors = tensorsOf(), folder = 'set') => writeAdapterSet(at(folder), config, tensors);

describe('a set of QuEPT', () => {
  it('comes back as it was written', async () => {
    await write();
    const set = await openAdapterSet(at('set'));
    expect(set.config).toEqual(config);
    expect(readQueptConfig(set.config)).toEqual(own);
    expect(await set.tensors.floats('')).toEqual(tensorsOf());
    await set.close();
  });

  it.each(['float32', 'int8'] as const)('gives back what was learned, stored as %s', async (storage) => {
    const set = withOwn({ storage });
    const learned = [...tensorsOf()].map(([name, { shape }]) => [name, positive(shape, name)] as const);
    const kept = asStored(storage, new Map(learned));
    const written = [...expectedTensors(set)].flatMap(([name, { shape, optional }]) =>
      optional && !kept.has(name)
        ? []
        : [[name, { shape, data: storedElements(storage, name, kept) }] as const],
    );
    await writeAdapterSet(at(storage), set, new Map(written));
    const opened = await openAdapterSet(at(storage));
    const q = await storedReader(storage, opened.tensors)({ prefix: 'q.' }).finally(() => opened.close());
    expect(q.size).toBe(16);
    for (const [name, tensor] of q) expect(tensor, name).toEqual(kept.get(`q.${name}`));
  });

  it('has the gain 1 where a group has none, as in the first sets', () => {
    const groups = [
      { bits: [8, 6], rank: 1 },
      { bits: [4], rank: 2 },
    ];
    expect(readQueptConfig(withOwn({ bit_groups: groups })).bit_groups).toEqual(own.bit_groups);
  });

  it('quantizes activations per token where it has no quantizers of layers, and none for weights alone', () => {
    const tokens = tensorsOf();
    for (const bits of [8, 6, 4]) {
      tokens.delete(`q.act_scale.${bits}`);
      tokens.delete(`q.act_zero.${bits}`);
    }
    const quantizers = (of: SetConfig) =>
      [...queptTensors(of)].filter(([name]) => name.includes('.act_scale.')).map(([name]) => name);
    expect(quantizers(config)).toEqual([
      ...[8, 6, 4].map((bits) => `q.act_scale.${bits}`),
      ...[8, 6, 4].map((bits) => `attention.q.act_scale.${bits}`),
    ]);
    expect(quantizers({ ...withOwn({ products: [] }), mode: 'weight-only' })).toEqual([]);
    return writeSetFiles(at('tokens'), config, expectedTensors(config), tokens);
  });

  it('runs at its group sizes and ranks, the cache in floating point unless it says otherwise', () => {
    const settings = elasticSettings(config, readQueptConfig(config));
    expect(settings).toMatchObject({ groups: own.bit_groups, isActivationQuantized: true });
    expect([8, 4].map((bits) => settings.groupSizeOf('k', bits))).toEqual([-1, 2]);
    expect(settings.cacheBits).toBeUndefined();
    expect(elasticSettings({ ...config, kv_bits: 4 }, readQueptConfig(config)).cacheBits).toBe(4);
  });
});

describe('tensors are refused', () => {
  const nan: SetTensor = { shape: [2, 5], data: new Float32Array(10).fill(NaN, 3) };
  const zero: SetTensor = { shape: [1], data: Float32Array.of(0) };

  it.each<[string, string, SetTensor | undefined, string]>([
    ['missing', 'q.lora_B', undefined, 'tensor "q.lora_B" is missing.'],
    ['missing at one bit-width', 'k.clip_lower.6', undefined, 'tensor "k.clip_lower.6" is missing.'],
    ['half a quantizer', 'q.act_zero.8', undefined, 'tensor "q.act_zero.8" is missing.'],
    [
      'a product without its scale',
      'attention.q.act_scale.4',
      undefined,
      '"attention.q.act_scale.4" is missing.',
    ],
    ['of the wrong shape', 'q.lora_A', tensor(3, 5), '"q.lora_A" must have shape [2, 5], found [3, 5].'],
    [
      'of rows per row, not per group',
      'k.clip_upper.4',
      tensor(2, 1),
      'must have shape [6, 1], found [2, 1].',
    ],
    ['unknown', 'q.lora_C', tensor(1), 'tensor "q.lora_C" belongs to nothing in adapter_config.json.'],
    ['a quantizer that is shared', 'k.act_scale.8', tensor(1), '"k.act_scale.8" belongs to nothing'],
    ['not finite', 'q.lora_A', nan, 'tensor "q.lora_A" must hold finite numbers, found NaN at 3.'],
    ['a scale of zero', 'q.act_scale.6', zero, '"q.act_scale.6" must hold positive numbers, found 0 at 0.'],
    ['a norm that is missing', 'norm1.weight', undefined, '"norm1.weight" is missing.'],
    ['a rescaling by zero', 'q.input_scale', { shape: [5], data: new Float32Array(5) }, 'must hold positive'],
  ])('%s', async (_, name, value, message) => {
    const tensors = tensorsOf();
    if (value) tensors.set(name, value);
    else tensors.delete(name);
    const text = await complaint(() => write(tensors));
    expect(text).toMatch(/^adapter_model\.safetensors: /);
    expect(text).toContain(message);
  });
});

describe('a config is refused', () => {
  it.each<[string, object, string]>([
    ['without groups', { bit_groups: [] }, '"bit_groups" must be a list of at least 1'],
    ['of one bit', { bit_groups: [{ bits: [1], rank: 1 }] }, '"bits[0]" must be an integer from 2 to 8'],
    ['of nine bits', { bit_groups: [{ bits: [9], rank: 1 }] }, 'from 2 to 8, found 9.'],
    ['of a bit-width twice', { bit_groups: [{ bits: [4, 4], rank: 1 }] }, 'different bit-widths'],
    [
      'of groups from low to high',
      { bit_groups: [4, 8].map((bits) => ({ bits: [bits], rank: 1 })) },
      'bit_groups[1]: bit groups must go from high to low',
    ],
    [
      'of falling ranks',
      { bit_groups: [8, 4].map((bits) => ({ bits: [bits], rank: bits })) },
      'bit_groups[1]: "rank" must be an integer of at least 8, found 4.',
    ],
    ['without any adapter', { bit_groups: [{ bits: [8], rank: 0 }] }, 'at least 1, found 0.'],
    [
      'whose groups hold other bit-widths than it offers',
      { bit_groups: own.bit_groups.slice(1) },
      'its bit groups hold 4 bits, not 8, 6, 4.',
    ],
    ['with a nested hyperparameter', { hyperparameters: { a: {} } }, '"a" has an unexpected value'],
    ['with losses that are no list', { losses: {} }, '"losses" must be a list'],
    [
      'with a loss that is text',
      { losses: [{ block: '0', first: { high: 'x' }, last: {} }] },
      'first: "high" must be',
    ],
  ])('%s', async (_, change, message) => {
    await write();
    const path = at('set', 'adapter_config.json');
    const stored = JSON.parse(await readFile(path, 'utf8')) as SetConfig;
    await writeFile(path, JSON.stringify({ ...stored, method: { ...stored.method, ...change } }));
    const text = await complaint(() => openAdapterSet(at('set')));
    expect(text).toMatch(/^adapter_config\.json: method/);
    expect(text).toContain(message);
  });
});

describe('what bit groups say of themselves', () => {
  const parts = (
    losses: object,
    groups: readonly object[] = [[7, 8], [4]].map((bits) => ({ bits, rank: 16, gain: 1 })),
  ) => queptParts({ ...withOwn({ bit_groups: groups, losses }), offered: [8, 7, 4] });
  const factsOf = (label: string, found: ReturnType<typeof parts>) =>
    found.map(({ facts }) => facts.find((fact) => fact.label === label)?.value);

  it('averages losses over the blocks', () => {
    const losses = [
      { block: '0', first: { '7,8': 0.2, '4': 1 }, last: { '7,8': 0.1, '4': 0.5 } },
      { block: '1', first: { '7,8': 0.4, '4': 3 }, last: { '7,8': 0.3, '4': 1.5 } },
    ];
    const found = parts(losses, [
      { bits: [7, 8], rank: 16, gain: 1 },
      { bits: [4], rank: 48, gain: 0 },
    ]);
    expect(found.map(({ bits }) => bits)).toEqual([[8, 7], [4]]);
    expect(factsOf('rank', found)).toEqual(['16', '48']);
    expect(factsOf('loss', found)).toEqual(['0.3 → 0.2', '2 → 1']);
    expect(factsOf('not improved, runs as it started', found)).toEqual([undefined, '']);
  });

  it('gives the parts of a divided group the losses of the whole', () => {
    const losses = [{ block: '0', first: { '4,7,8': 0.2 }, last: { '4,7,8': 0.1 } }];
    const found = parts(losses);
    expect(factsOf('loss', found)).toEqual(['0.2 → 0.1', '0.2 → 0.1']);
    const helps = found.map(({ facts }) => facts.find(({ label }) => label === 'loss')!.help);
    expect(helps[0]).toContain('Calibrated together with 4 bits, whose loss is in it.');
    expect(helps[1]).toContain('Calibrated together with 7, 8 bits, whose loss is in it.');
  });

  it('says nothing of losses that nobody recorded', () => {
    expect(factsOf('loss', parts([]))).toEqual([undefined, undefined]);
  });
});

it('takes less than 6 bits per weight for 2 to 8 bits, adapters in int8, where layers are 576 wide', () => {
  const layers = {
    q: { in: 576, out: 1536, group_size: { 2: 128, 3: 128, 4: 128, 5: -1, 6: -1, 7: -1, 8: -1 }, input: 'q' },
  };
  const groups = DEFAULT_TEXT.groups.map((group) => ({ ...group, bits: [...group.bits] }));
  const bitsPerWeight = (storage: string) => {
    const set = { ...withOwn({ bit_groups: groups, products: [], storage }), layers, mode: 'weight-only' };
    let bytes = 0;
    for (const { shape, dtype = 'F32' } of queptTensors({
      ...set,
      offered: [8, 7, 6, 5, 4, 3, 2],
    } as SetConfig).values())
      bytes += sizeOf(shape) * DTYPE_BYTES.get(dtype)!;
    return (8 * bytes) / (576 * 1536);
  };
  expect(bitsPerWeight('int8')).toBeLessThan(6);
  expect(bitsPerWeight('float32')).toBeGreaterThan(15);
});

it('needs no adapters where every bit-width kept its start', () => {
  const bit_groups = [
    { bits: [8, 6], rank: 0, gain: 0 },
    { bits: [4], rank: 0, gain: 0 },
  ];
  expect([...queptTensors(withOwn({ bit_groups })).keys()].filter((name) => name.includes('lora'))).toEqual(
    [],
  );
});

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import {
  bitsOf,
  fingerprintModel,
  groupSizeOf,
  openAdapterSet,
  readAdapterSet,
  writeAdapterSet,
} from './adapter-set.js';
import type { AdapterSetConfig, AdapterTensor, WrittenTensor } from './adapter-set.js';
import { readAdapterConfig } from './adapter-set.js';
import { openSafetensors, writeSafetensors } from './safetensors.js';
import type { SafetensorsEntry } from './safetensors.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();

const config: AdapterSetConfig = {
  schema_version: 1,
  engine_version: '0.1.0',
  method: 'quept',
  mode: 'weight-activation',
  model: { family: 'vit', fingerprint: 'a'.repeat(64), name: 'vit-fashion' },
  calibration: { fingerprint: 'b'.repeat(64), samples: 1024, name: 'fashion' },
  bit_groups: [
    { bits: [8, 6], rank: 1, gain: 1 },
    { bits: [4], rank: 2, gain: 1 },
  ],
  embedding_bits: 8,
  head_bits: 16,
  seed: 7,
  hyperparameters: { epochs: 20, fold: true, optimizer: 'adam', lambda: [0.3, 0.7] },
  layers: {
    q: { in: 5, out: 3, group_size: -1, input: 'q' },
    k: { in: 5, out: 2, group_size: { 4: 2, 6: -1, 8: -1 }, input: 'q' },
  },
  products: ['attention.q'],
  norms: { norm1: 5 },
  losses: [{ block: '0', first: { high: 0.5, low: 1.5 }, last: { high: 0.25, low: 1 } }],
};

function tensor(...shape: number[]): AdapterTensor {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5) };
}

function tensorsOf(): Map<string, AdapterTensor> {
  const tensors = new Map<string, AdapterTensor>([
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

describe('an adapter set', () => {
  it('comes back as it was written', async () => {
    await write();
    expect((await readdir(at('set'))).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const set = await readAdapterSet(at('set'));
    expect(set.config).toEqual(config);
    expect(set.tensors).toEqual(tensorsOf());
    expect(await readAdapterConfig(at('set'))).toEqual(config);
  });

  it('gives the tensors of a part alone, by the rest of their names', async () => {
    await write();
    const source = await openAdapterSet(at('set'));
    const expected = [...tensorsOf()].flatMap(([name, tensor]) =>
      name.startsWith('q.') ? [[name.slice(2), tensor] as const] : [],
    );
    expect(await source.tensors('q.')).toEqual(new Map(expected));
    expect(await source.tensors('nothing.')).toEqual(new Map());
    await source.close();
  });

  it('is written from tensors that are had one at a time', async () => {
    await write();
    let open = 0;
    const late = [...tensorsOf()].map(([name, { shape, data }]) => {
      const read = async () => {
        expect(++open).toBe(1);
        await Promise.resolve();
        open--;
        return data;
      };
      return [name, { shape, data: read }] as const;
    });
    await writeAdapterSet(at('late'), config, new Map(late));
    for (const name of await readdir(at('set')))
      expect(await readFile(at('late', name))).toEqual(await readFile(at('set', name)));
  });

  it('leaves nothing where a tensor that comes late is not finite', async () => {
    const late = { shape: [3, 2], data: () => Promise.resolve(new Float32Array(6).fill(NaN)) };
    const bad = new Map<string, WrittenTensor>([...tensorsOf(), ['q.lora_B', late]]);
    expect(await complaint(() => writeAdapterSet(at('bad'), config, bad))).toContain(
      'must hold finite numbers',
    );
    expect(await readdir(at('bad'))).toEqual([]);
  });

  it('is the same bytes for the same content, in any order', async () => {
    await write();
    const reversed = new Map([...tensorsOf()].reverse());
    const shuffled = Object.fromEntries(Object.entries(config).reverse()) as unknown as AdapterSetConfig;
    await writeAdapterSet(at('again'), shuffled, reversed);
    for (const name of await readdir(at('set')))
      expect(await readFile(at('again', name))).toEqual(await readFile(at('set', name)));
  });

  it('knows its bit-widths and group sizes', () => {
    expect(bitsOf(config)).toEqual([8, 6, 4]);
    expect(groupSizeOf(config.layers.q!, 4)).toBe(-1);
    expect(groupSizeOf(config.layers.k!, 4)).toBe(2);
  });

  it('is refused when tensors and config are of two writings', async () => {
    await write();
    const other = tensorsOf().set('norm1.weight', { shape: [5], data: new Float32Array(5) });
    await write(other, 'other');
    await writeFile(
      at('set', 'adapter_model.safetensors'),
      await readFile(at('other', 'adapter_model.safetensors')),
    );
    expect(await complaint(() => readAdapterSet(at('set')))).toContain(
      'is not the file that adapter_config.json',
    );
  });

  it('is not replaced by an invalid one, and cleans up after a killed one', async () => {
    await write();
    const before = await readFile(at('set', 'adapter_config.json'));
    const bad = tensorsOf();
    bad.delete('q.lora_A');
    await complaint(() => write(bad));
    expect(await readFile(at('set', 'adapter_config.json'))).toEqual(before);
    await writeFile(at('set', `.adapter_model.safetensors.${2 ** 22 + 1}-0123abcd.partial`), '');
    await write();
    expect((await readdir(at('set'))).length).toBe(2);
  });

  it('is refused where a file is missing', async () => {
    await mkdir(at('set'));
    expect(await complaint(() => readAdapterSet(at('set')))).toMatch(/adapter_config\.json: no such file/);
  });
});

describe('tensors are refused', () => {
  const nan: AdapterTensor = { shape: [2, 5], data: new Float32Array(10).fill(NaN, 3) };
  const zero: AdapterTensor = { shape: [1], data: Float32Array.of(0) };

  it.each<[string, string, AdapterTensor | undefined, string]>([
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
  type Edit = (config: Record<string, unknown>) => unknown;
  const layer = (change: object) => ({
    layers: { q: { in: 5, out: 3, group_size: -1, input: 'q', ...change } },
  });

  it.each<[string, Edit | object, string]>([
    ['of a newer version', { schema_version: 2 }, 'made by a newer version of Elastic Precision (schema 2'],
    ['without a version', { schema_version: undefined }, '"schema_version" must be a positive integer'],
    ['of another method', { method: 'gptq' }, '"method" must be one of "quept", found "gptq".'],
    ['of another mode', { mode: 'activation' }, '"mode" must be one of "weight-activation", "weight-only"'],
    [
      'without a fingerprint',
      { model: { family: 'vit', name: 'x', fingerprint: 'abc' } },
      'must be 64 hex digits',
    ],
    ['without groups', { bit_groups: [] }, '"bit_groups" must not be empty.'],
    ['of one bit', { bit_groups: [{ bits: [1], rank: 1 }] }, '"bits" must be a list of integers from 2 to 8'],
    ['of nine bits', { bit_groups: [{ bits: [9], rank: 1 }] }, 'from 2 to 8, found [9].'],
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
    ['of nine head bits', { head_bits: 9 }, '"head_bits" must be 2 to 8, or 16 or 32'],
    ['with signs that are no digits', { rotation: { signs: '09x' } }, 'rotation: "signs" must be hex digits'],
    ['with a rotation without signs', { rotation: {} }, '"signs"'],
    ['with a cache of 9 bits', { kv_bits: 9 }, '"kv_bits"'],
    ['with a nested hyperparameter', { hyperparameters: { a: {} } }, '"a" has an unexpected value'],
    ['with an empty layer', layer({ in: 0 }), 'layer "q": "in" must be a positive integer, found 0.'],
    ['with groups of none', layer({ group_size: 0 }), 'found 0.'],
    ['with no group size for a bit-width', layer({ group_size: { 8: -1, 6: -1 } }), '"4" must be'],
    ['with a layer on a missing input', layer({ input: 'v' }), '"input" must name the first layer'],
    ['with losses that are no list', { losses: {} }, '"losses" must be a list.'],
    [
      'with a loss that is text',
      { losses: [{ block: '0', first: { high: 'x' }, last: {} }] },
      'first of "high"',
    ],
  ])('%s', async (_, change, message) => {
    await write();
    const stored = JSON.parse(await readFile(at('set', 'adapter_config.json'), 'utf8')) as object;
    await writeFile(at('set', 'adapter_config.json'), JSON.stringify({ ...stored, ...change }));
    const text = await complaint(() => readAdapterSet(at('set')));
    expect(text).toMatch(/^adapter_config\.json: /);
    expect(text).toContain(message);
  });
});

describe('fingerprintModel', () => {
  const large = new Float32Array(200_000);
  const small = Float32Array.of(1, 2, 3);
  const entries = (change: object = {}): SafetensorsEntry[] => [
    { name: 'large', dtype: 'F32', shape: [200_000], data: large },
    { name: 'small', dtype: 'F32', shape: [3], data: small, ...change },
  ];

  async function fingerprint(tensors: SafetensorsEntry[], text = '{}'): Promise<string> {
    await writeSafetensors(at('x'), tensors, { note: String(tensors.length) });
    const source = await openSafetensors(at('x'));
    try {
      return await fingerprintModel(source, text);
    } finally {
      await source.close();
    }
  }

  it('depends on the content and not on the files', async () => {
    const one = await fingerprint(entries());
    expect(one).toMatch(/^[0-9a-f]{64}$/);
    for (const [name, index] of [
      ['1', 0],
      ['2', 1],
    ] as const)
      await writeSafetensors(at(`${name}.safetensors`), [entries()[index]!]);
    const weight_map = { small: '2.safetensors', large: '1.safetensors' };
    await writeFile(at('i.json'), JSON.stringify({ weight_map }));
    const shards = await openSafetensors(at('i.json'));
    expect(await fingerprintModel(shards, '{}')).toBe(one);
    await shards.close();
  });

  it('changes with the config, a name, a shape, a value', async () => {
    const changed = large.slice();
    changed[199_999] = 1;
    const prints = [
      await fingerprint(entries()),
      await fingerprint(entries(), '{ }'),
      await fingerprint(entries({ name: 'tiny' })),
      await fingerprint(entries({ shape: [3, 1] })),
      await fingerprint(entries({ data: Float32Array.of(1, 2, 4) })),
      await fingerprint([{ ...entries()[0]!, data: changed }, entries()[1]!]),
    ];
    expect(new Set(prints).size).toBe(prints.length);
  });
});

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { readJsonFile } from './json.js';
import {
  openSetTensors,
  readSetConfig,
  readTensorsDigest,
  writeSetFiles,
  type ExpectedTensors,
  type SetTensor,
  type WrittenTensor,
} from './set.js';
import { groupSizeOf, type SetConfig } from './set-config.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();

const config: SetConfig = {
  schema_version: 2,
  engine_version: '0.1.0',
  mode: 'weight-activation',
  model: { family: 'vit', fingerprint: 'a'.repeat(64), name: 'vit-fashion' },
  calibration: { fingerprint: 'b'.repeat(64), samples: 1024, name: 'fashion' },
  seed: 7,
  offered: [8, 6, 2.3],
  embedding_bits: 8,
  head_bits: 16,
  kv_bits: 4,
  transforms: [{ name: 'shift', by: 3 }],
  layers: {
    q: { in: 5, out: 3, group_size: -1, input: 'q' },
    k: { in: 5, out: 2, group_size: { '2.3': 2, '6': -1, '8': -1 }, input: 'q' },
  },
  method: { name: 'sorted', orders: [1, 2] },
};

const expected: ExpectedTensors = new Map([
  ['q.scale', { shape: [3], positive: true }],
  ['q.codes', { shape: [3, 5], dtype: 'U8' as const }],
  ['k.scale', { shape: [2], positive: true, optional: true, group: 'k' }],
  ['k.zero', { shape: [2], optional: true, group: 'k' }],
  ['norm.bias', { shape: [5], optional: true }],
]);

const floats = (...data: number[]): SetTensor => ({ shape: [data.length], data: Float32Array.from(data) });
const codes = { shape: [3, 5], data: Uint8Array.from({ length: 15 }, (_, i) => 17 * i) };
const tensorsOf = () =>
  new Map<string, WrittenTensor>([
    ['q.scale', floats(1, 2, 3)],
    ['q.codes', codes],
    ['k.scale', floats(0.5, 0.25)],
    ['k.zero', floats(0, -1)],
  ]);

const write = (tensors: ReadonlyMap<string, WrittenTensor> = tensorsOf(), folder = 'set') =>
  writeSetFiles(at(folder), config, expected, tensors);

const content = async (folder: string) =>
  Promise.all((await readdir(at(folder))).sort().map((name) => readFile(at(folder, name))));

describe('an adapter set', () => {
  it('comes back as it was written', async () => {
    await write();
    expect((await readdir(at('set'))).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    expect(await readSetConfig(at('set'))).toEqual(config);
    const tensors = await openSetTensors(at('set'), expected);
    const { 'q.codes': written, ...others } = Object.fromEntries(tensorsOf());
    expect(await tensors.floats('')).toEqual(new Map(Object.entries(others)));
    expect(await tensors.bytes('q.codes')).toEqual(written!.data);
    await tensors.close();
  });

  it('gives the tensors of a part alone, by the rest of their names', async () => {
    await write();
    const tensors = await openSetTensors(at('set'), expected);
    expect(await tensors.floats('k.')).toEqual(
      new Map([
        ['scale', floats(0.5, 0.25)],
        ['zero', floats(0, -1)],
      ]),
    );
    expect(await tensors.floats('nothing.')).toEqual(new Map());
    await tensors.close();
  });

  it('is written from tensors that are had one at a time', async () => {
    await write();
    let open = 0;
    const late = [...tensorsOf()].map(([name, { shape, data }]) => {
      const read = async () => {
        expect(++open).toBe(1);
        await Promise.resolve();
        open--;
        return data as Float32Array;
      };
      return [name, { shape, data: read }] as const;
    });
    await write(new Map(late), 'late');
    expect(await content('late')).toEqual(await content('set'));
  });

  it('leaves nothing where a tensor that comes late is not finite', async () => {
    const late = { shape: [2], data: () => Promise.resolve(new Float32Array(2).fill(NaN)) };
    expect(await complaint(() => write(tensorsOf().set('k.zero', late), 'bad'))).toContain(
      'must hold finite numbers',
    );
    expect(await readdir(at('bad'))).toEqual([]);
  });

  it('is the same bytes for the same content, in any order', async () => {
    await write();
    const reversed = new Map([...tensorsOf()].reverse());
    const shuffled = Object.fromEntries(Object.entries(config).reverse()) as unknown as SetConfig;
    await writeSetFiles(at('again'), shuffled, expected, reversed);
    expect(await content('again')).toEqual(await content('set'));
  });

  it('knows its group sizes, and the digest of its tensors', async () => {
    expect(groupSizeOf(config.layers.q!, 2.3)).toBe(-1);
    expect(groupSizeOf(config.layers.k!, 2.3)).toBe(2);
    await write();
    await write(tensorsOf().set('q.scale', floats(1, 2, 4)), 'other');
    const digest = await readTensorsDigest(at('set'));
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect(await readTensorsDigest(at('other'))).not.toBe(digest);
  });

  it('is refused when tensors and config are of two writings', async () => {
    await write();
    await write(tensorsOf().set('norm.bias', floats(0, 0, 0, 0, 0)), 'other');
    await writeFile(
      at('set', 'adapter_model.safetensors'),
      await readFile(at('other', 'adapter_model.safetensors')),
    );
    expect(await complaint(() => openSetTensors(at('set'), expected))).toContain(
      'is not the file that adapter_config.json',
    );
  });

  it('is not replaced by an invalid one, and cleans up after a killed one', async () => {
    await write();
    const before = await content('set');
    const bad = tensorsOf();
    bad.delete('q.scale');
    await complaint(() => write(bad));
    expect(await content('set')).toEqual(before);
    await writeFile(at('set', `.adapter_model.safetensors.${2 ** 22 + 1}-0123abcd.partial`), '');
    await write();
    expect((await readdir(at('set'))).length).toBe(2);
  });

  it('is refused where a file is missing', async () => {
    await mkdir(at('set'));
    expect(await complaint(() => readSetConfig(at('set')))).toMatch(/adapter_config\.json: no such file/);
  });
});

describe('tensors are refused', () => {
  it.each<[string, string, WrittenTensor | undefined, string]>([
    ['missing', 'q.scale', undefined, 'tensor "q.scale" is missing.'],
    ['half of what belongs together', 'k.zero', undefined, 'tensor "k.zero" is missing.'],
    ['of the wrong shape', 'q.scale', floats(1, 2), '"q.scale" must have shape [3], found [2].'],
    ['unknown', 'q.shift', floats(1), 'tensor "q.shift" belongs to nothing in adapter_config.json.'],
    ['not finite', 'k.zero', floats(0, Infinity), '"k.zero" must hold finite numbers, found Infinity at 1.'],
    ['not positive', 'q.scale', floats(1, 0, 1), '"q.scale" must hold positive numbers, found 0 at 1.'],
  ])('%s', async (_, name, value, message) => {
    const tensors = tensorsOf();
    if (value) tensors.set(name, value);
    else tensors.delete(name);
    const text = await complaint(() => write(tensors));
    expect(text).toMatch(/^adapter_model\.safetensors: /);
    expect(text).toContain(message);
  });

  it('of another type', async () => {
    await write();
    const as = (name: string, dtype: 'F32' | 'U8') =>
      complaint(() =>
        openSetTensors(at('set'), new Map(expected).set(name, { ...expected.get(name)!, dtype })),
      );
    expect(await as('q.scale', 'U8')).toContain('"q.scale" must hold bytes (U8), found F32.');
    expect(await as('q.codes', 'F32')).toContain('"q.codes" must hold floating-point numbers, found U8.');
  });
});

describe('a config is refused', () => {
  const layer = (change: object) => ({
    layers: { q: { in: 5, out: 3, group_size: -1, input: 'q', ...change } },
  });

  it.each<[string, object, string]>([
    ['of a newer version', { schema_version: 3 }, 'made by a newer version of Elastic Precision (schema 3'],
    ['without a version', { schema_version: undefined }, '"schema_version" must be a positive integer'],
    ['without a method', { method: undefined }, 'method'],
    ['of a method without a name', { method: { orders: [] } }, 'method: "name" must be'],
    ['of a transform without a name', { transforms: [{}] }, 'transforms[0]: "name" must be'],
    ['of another mode', { mode: 'activation' }, '"mode" must be one of "weight-activation", "weight-only"'],
    [
      'without a fingerprint',
      { model: { family: 'vit', name: 'x', fingerprint: 'abc' } },
      'must be 64 hex digits',
    ],
    ['that offers nothing', { offered: [] }, '"offered" must be a list of at least 1'],
    ['of less than one bit', { offered: [0.5] }, '"offered[0]" must be'],
    ['of nine bits', { offered: [9] }, '"offered[0]" must be'],
    ['of a bit-width twice', { offered: [4, 4] }, '"offered" must go from high to low'],
    ['of bit-widths from low to high', { offered: [4, 8] }, '"offered" must go from high to low'],
    ['of nine head bits', { head_bits: 9 }, '"head_bits" must be 2 to 8, or 16 or 32'],
    ['with a cache of 9 bits', { kv_bits: 9 }, '"kv_bits"'],
    ['calibrated on nothing', { calibration: { ...config.calibration, samples: 0 } }, '"samples" must be'],
    ['with an empty layer', layer({ in: 0 }), 'layers: q: "in" must be a positive integer, found 0.'],
    ['with groups of none', layer({ group_size: 0 }), 'found 0.'],
    [
      'with no group size for a bit-width',
      layer({ group_size: { 8: -1, 6: -1 } }),
      'layer "q": "group_size" has no size at 2.3 bits.',
    ],
    ['with a layer on a missing input', layer({ input: 'v' }), '"input" must name the first layer'],
  ])('%s', async (_, change, message) => {
    await write();
    const path = at('set', 'adapter_config.json');
    await writeFile(path, JSON.stringify({ ...((await readJsonFile(path)) as object), ...change }));
    const text = await complaint(() => readSetConfig(at('set')));
    expect(text).toMatch(/^adapter_config\.json: /);
    expect(text).toContain(message);
  });
});

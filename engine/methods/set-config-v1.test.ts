/** Sets of schema version 1, written and run by the version that made them: `test/sets-v1/`. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { openElasticModel } from '../execution/quantized-model.js';
import { usePrograms } from '../execution/testing.js';
import {
  expectedTensors,
  openAdapterSet,
  openSource,
  requireMatch,
  sizedModel,
  writeAdapterSet,
} from './sets.js';
import { methodNamed } from './registry.js';
import { openCheckpoint } from '../models/checkpoint.js';
import { bytesOf, formOf } from '../quantized/form.js';
import { quantizedBytes } from '../quantized/size.js';
import type { JsonObject } from '../formats/json.js';
import { readSetConfig } from '../formats/set.js';
import { parseSetConfig } from '../formats/set-config.js';
import { complaint, useTemporaryFolder } from '../formats/testing.js';

const at = useTemporaryFolder();
const programs = usePrograms();
const { runtime } = programs;

const kept = (...names: string[]) => join(import.meta.dirname, '../../test/sets-v1', ...names);
const json = async <T>(...names: string[]) => JSON.parse(await readFile(kept(...names), 'utf8')) as T;

/** 64 pixels of one picture, or 16 tokens: those whose logits were kept. */
const pixels = () => runtime.tensor(Float32Array.from({ length: 64 }, (_, i) => ((37 * i) % 64) / 32 - 1), [1, 1, 8, 8]); // prettier-ignore
const ids = () => runtime.tensor(BigInt64Array.from({ length: 16 }, (_, i) => BigInt((37 * i + 5) % 288)), [1, 16]); // prettier-ignore

describe.each([
  ['vit', TINY_VIT],
  ['llama', { ...TINY_LLAMA, vocab_size: 288 }],
  ['llama-wa', { ...TINY_LLAMA, vocab_size: 288 }],
])('the set %s of version 1', (name, config) => {
  /** Logits at every bit-width; of a text the first 24 of its last token. */
  async function logitsOf(folder: string): Promise<Record<string, number[]>> {
    await writeRandomModel(at('model'), config);
    const checkpoint = await openCheckpoint(at('model'));
    const set = await openAdapterSet(folder);
    try {
      await requireMatch(checkpoint, set, name);
      const elastic = await openElasticModel(programs, openSource(programs, checkpoint, set));
      const found: Record<string, number[]> = {};
      for (const bits of elastic.bits) {
        await elastic.use(bits);
        const logits = name === 'vit' ? await elastic.run(pixels(), 1) : await elastic.row(ids(), 15);
        found[bits] = [...logits.slice(0, 24)];
      }
      elastic.dispose();
      return found;
    } finally {
      await set.close();
      await checkpoint.close();
    }
  }

  async function expectKept(found: Record<string, number[]>): Promise<void> {
    const { logits } = await json<{ logits: Record<string, number[]> }>(name, 'expected.json');
    expect(Object.keys(found)).toEqual(Object.keys(logits));
    for (const [bits, values] of Object.entries(logits))
      for (const [i, value] of values.entries())
        expect(found[bits]![i], `${bits} bits`).toBeCloseTo(value, 4);
  }

  it('gives the logits that it gave', async () => {
    await expectKept(await logitsOf(kept(name)));
  });

  it('has the size that it had', async () => {
    await writeRandomModel(at('model'), config);
    const checkpoint = await openCheckpoint(at('model'));
    const sized = sizedModel(checkpoint, await readSetConfig(kept(name)));
    const { bytes } = await json<{ bytes: Record<string, number> }>(name, 'expected.json');
    for (const [bits, expected] of Object.entries(bytes))
      expect(quantizedBytes(sized, Number(bits))).toBe(expected);
    await checkpoint.close();
  });

  it('has weights of the form that it says, for every layer and bit-width', async () => {
    await writeRandomModel(at('model'), config);
    const checkpoint = await openCheckpoint(at('model'));
    const set = await openAdapterSet(kept(name));
    const source = openSource(programs, checkpoint, set);
    for (const layer of Object.keys(set.config.layers))
      for (const bits of source.offered) {
        const said = source.form(layer, bits);
        const found = formOf(await source.weight(layer, bits));
        expect(found, `${layer} at ${bits} bits`).toEqual({ zeroBits: bits, ...said });
        expect(bytesOf(found)).toBe(bytesOf(said));
      }
    await set.close();
    await checkpoint.close();
  });

  it('can be written as version 2, and gives the same', async () => {
    const set = await openAdapterSet(kept(name));
    const read = set.config;
    await writeAdapterSet(at('set'), read, await set.tensors.floats(''));
    await set.close();
    expect(JSON.parse(await readFile(at('set', 'adapter_config.json'), 'utf8'))).toMatchObject({
      schema_version: 2,
    });
    expect(await readSetConfig(at('set'))).toEqual(read);
    await expectKept(await logitsOf(at('set')));
  });

  it('keeps everything that it said', async () => {
    const old = await json<JsonObject>(name, 'adapter_config.json');
    const read = await readSetConfig(kept(name));
    for (const key of [
      'mode',
      'model',
      'calibration',
      'seed',
      'embedding_bits',
      'head_bits',
      'layers',
    ] as const)
      expect(read[key]).toEqual(old[key]);
    expect(read.kv_bits).toEqual(old.kv_bits);
    const { bit_groups, products, hyperparameters, losses } = old;
    expect(read.method).toEqual({ name: 'quept', bit_groups, products, hyperparameters, losses });
  });
});

describe('a config of version 1', () => {
  const old = () => json<JsonObject>('llama-wa', 'adapter_config.json');
  const parse = async (change: object = {}) =>
    parseSetConfig({ ...(await old()), ...change }, 'adapter_config.json');

  it('offers the bit-widths of its groups, from high to low', async () => {
    expect((await parse()).offered).toEqual([8, 7, 6, 5, 4]);
  });

  it('was rotated, queries and keys too where the cache was quantized, before it was rescaled', async () => {
    const norms = { name: 'rescaling', norms: { norm: 16 } };
    expect((await parse({ norms: norms.norms })).transforms).toEqual([
      { name: 'rotation', signs: '802b', keys: true },
      norms,
    ]);
    const { kv_bits: _, ...floating } = await old();
    const { transforms, ...others } = parseSetConfig(floating, 'adapter_config.json');
    expect(transforms[0]).toEqual({ name: 'rotation', signs: '802b', keys: false });
    expect(others).not.toHaveProperty('kv_bits');
    expect((await readSetConfig(kept('llama'))).transforms.map((one) => one.name)).toEqual(['rescaling']);
  });

  it('may lack norms, products and gains, which the first sets did', async () => {
    const { norms: _norms, products: _products, ...rest } = await old();
    const bare = { ...rest, bit_groups: [{ bits: [8, 4], rank: 3 }] };
    const read = parseSetConfig(bare, 'adapter_config.json');
    expect(read.transforms.at(-1)).toEqual({ name: 'rescaling', norms: {} });
    expect(read.method).toMatchObject({ products: [], bit_groups: [{ bits: [8, 4], rank: 3 }] });
    expect(methodNamed('quept').parts(read)).toHaveLength(1);
  });

  it.each<[string, object, string]>([
    ['of another method', { method: 'gptq' }, '"method" must be "quept", found "gptq".'],
    ['of another mode', { mode: 'activation' }, '"mode" must be one of'],
    ['without groups', { bit_groups: [] }, '"offered" must be a list of at least 1'],
    ['whose groups are no list', { bit_groups: 8 }, '"offered" must be a list of at least 1'],
    ['without layers', { layers: undefined }, 'layers'],
  ])('is refused %s', async (_, change, message) => {
    const text = await complaint(() => parse(change));
    expect(text).toMatch(/^adapter_config\.json: /);
    expect(text).toContain(message);
  });

  it.each([
    ['signs that are no digits', { rotation: { signs: '09x' } }, '"signs" must be hex digits, found "09x".'],
    ['a rotation without signs', { rotation: {} }, '"signs"'],
  ])('is refused with %s once its tensors are asked for', async (_, change, message) => {
    const config = await parse(change);
    expect(await complaint(() => expectedTensors(config))).toContain(message);
  });
});

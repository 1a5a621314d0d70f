import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SetConfig } from '../formats/set-config.js';
import { complaint, useTemporaryFolder } from '../formats/testing.js';
import { writeAdapterSet } from '../methods/sets.js';
import type { AdapterSetReport, ReadableAdapterSet } from '../protocol/protocol.js';
import { listAdapters, renameAdapters } from './adapters.js';

const at = useTemporaryFolder();
const ours = 'a'.repeat(64);
const other = 'c'.repeat(64);

const bit_groups = [
  { bits: [8], rank: 1, gain: 1 },
  { bits: [4], rank: 1, gain: 1 },
];
const config: SetConfig = {
  schema_version: 2,
  engine_version: '0.1.0',
  mode: 'weight-only',
  model: { family: 'llama', fingerprint: ours, name: 'speaker' },
  calibration: { fingerprint: 'b'.repeat(64), samples: 8, name: 'text' },
  seed: 0,
  offered: [8, 4],
  embedding_bits: 16,
  head_bits: 16,
  transforms: [],
  layers: { q: { in: 4, out: 2, group_size: { 4: 2, 8: -1 }, input: 'q' } },
  method: { name: 'quept', bit_groups, products: [], hyperparameters: {}, losses: [] },
};

/** Writes a small adapter set to a folder and below. */
async function writeSet(...names: string[]): Promise<string> {
  const tensor = (name: string, ...shape: number[]) =>
    [name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) }] as const;
  const path = at(...names);
  await mkdir(path, { recursive: true });
  const tensors = [
    tensor('q.lora_A', 1, 4),
    tensor('q.lora_B', 2, 1),
    ...['upper', 'lower'].flatMap((side) => [
      tensor(`q.clip_${side}.4`, 4, 1),
      tensor(`q.clip_${side}.8`, 2, 1),
    ]),
  ];
  await writeAdapterSet(path, config, new Map(tensors));
  return path;
}

const list = (models: Record<string, string | undefined> = {}): Promise<AdapterSetReport[]> =>
  listAdapters([at('')], Object.keys(models), (path) => Promise.resolve(models[path]), new AbortController().signal); // prettier-ignore

describe('listAdapters', () => {
  it('says what a set holds and takes', async () => {
    const path = await writeSet('set');
    const sizes = ['adapter_config.json', 'adapter_model.safetensors'].map((name) => stat(join(path, name)));
    const [found] = await list();
    expect(found).toMatchObject({
      ...{ path, name: 'set', readable: true, matches: false, groupSizes: { 4: 2, 8: -1 } },
      bytes: (await Promise.all(sizes)).reduce((sum, { size }) => sum + size, 0),
      facts: {
        engineVersion: '0.1.0',
        method: { name: 'quept', title: 'QuEPT' },
        mode: 'weight-only',
        offered: [8, 4],
        model: config.model,
        calibration: config.calibration,
        seed: 0,
        embeddingBits: 16,
        headBits: 16,
        parts: [{ bits: [8] }, { bits: [4] }],
      },
    });
    const { facts } = found as ReadableAdapterSet;
    const averages = facts.parts.map((part) => part.facts.find(({ label }) => label === 'bits per weight'));
    // Layers of 4 inputs: a scale of 16 bits and a zero point for each row, and for each two columns.
    const bits = [8 + (16 + 8) / 4, 4 + (16 + 4) / 2];
    expect(averages.map((fact) => fact!.value)).toEqual(bits.map((each) => each.toFixed(2)));
    expect(found).not.toHaveProperty('model');
    expect(found).not.toHaveProperty('facts.kvBits');
  });

  it('belongs to the model it was calibrated for, the nearest of several', async () => {
    await writeSet('near', 'set');
    const models = {
      [at('far', 'speaker')]: ours,
      [at('near', 'other name')]: ours,
      [at('near', 'x')]: other,
    };
    expect(await list(models)).toMatchObject([{ model: at('near', 'other name'), matches: true }]);
  });

  it('stays with a model that has changed: the one whose folder holds it, or of the same name', async () => {
    await writeSet('speaker', 'set');
    await writeSet('elsewhere', 'set');
    const models = { [at('speaker')]: other, [at('x')]: undefined };
    expect(await list(models)).toMatchObject([
      { path: at('elsewhere', 'set'), model: at('speaker'), matches: false },
      { path: at('speaker', 'set'), model: at('speaker'), matches: false },
    ]);
  });

  it('has a broken set with its reason beside the good ones', async () => {
    await writeSet('good');
    await rm(join(await writeSet('no tensors'), 'adapter_model.safetensors'));
    await writeFile(join(await writeSet('no json'), 'adapter_config.json'), '{"schema_version": 1,');
    const found = await list();
    expect(found.map(({ name, readable }) => [name, readable])).toEqual([
      ['good', true],
      ['no json', false],
      ['no tensors', false],
    ]);
    expect(found[2]).toMatchObject({ reason: 'adapter_model.safetensors is missing; calibrate again.' });
  });
});

describe('renameAdapters', () => {
  it('moves the folder, and the set with it', async () => {
    const path = await writeSet('old');
    expect(await renameAdapters(path, 'new name')).toBe(at('new name'));
    expect((await list()).map(({ name }) => name)).toEqual(['new name']);
  });

  it('takes no name that is unsafe, taken, or of unfinished work', async () => {
    const path = await writeSet('old');
    await writeSet('taken');
    await mkdir(at('begun.partial'));
    for (const name of ['../out', 'taken', 'begun', ''])
      expect(await complaint(() => renameAdapters(path, name))).toContain('choose another');
    await rename(at('taken'), at('moved'));
    expect(await complaint(() => renameAdapters(at('nothing'), 'x'))).toContain('holds no adapter set');
    expect(await readFile(join(path, 'adapter_config.json'), 'utf8')).toContain('schema_version');
  });
});

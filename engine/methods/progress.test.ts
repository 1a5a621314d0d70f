import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/fixtures.js';
import { UserError } from '../errors.js';
import { openSafetensors, writeSafetensors } from '../formats/safetensors.js';
import { discardProgress, openProgress, progressMade, type KeptTensor } from './progress.js';

let folder: string;
let cleanUp: () => Promise<void>;
/** A fresh adapter set's folder for each test. */
let out: string;
let count = 0;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());
beforeEach(() => (out = join(folder, `set-${count++}`)));

const IDENTITY = {
  model: 'abc',
  samples: 64,
  options: { seed: 0, groups: [{ bits: [7, 8], rank: 2 }], rates: { lora: 1e-3 } },
};
const open = (identity: object = IDENTITY, resume = true) => openProgress(out, identity, resume);
const file = (name: string) => join(`${out}.partial`, name);

async function complaint(action: () => Promise<unknown>): Promise<string> {
  const error: unknown = await action().then(
    () => new Error('It was accepted.'),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(UserError);
  const { message } = error as UserError;
  expect(message).not.toContain('\n');
  return message.replaceAll(out, 'OUT');
}

/** Values that a decimal would lose: subnormal, negative zero, the ends of the range. */
const hard = Float32Array.of(1e-45, -0, 3.4028234663852886e38, 0.1, -1 / 3);
const tensors = new Map([
  ['a', { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }],
  ['b', { shape: [5, 1], data: hard }],
  ['empty', { shape: [0, 4], data: new Float32Array() }],
]);
const notes = { first: [1 / 3, 2.5], last: [1e-300, 0] };

describe('what was saved', () => {
  it('comes back to the last bit, by its name', async () => {
    const progress = await open();
    const packed = { shape: [2, 2], data: Uint8Array.of(0, 255, 7, 128) };
    await progress.save(
      'one.safetensors',
      new Map<string, KeptTensor>([...tensors, ['packed', packed]]),
      notes,
    );
    await progress.save('two.safetensors', new Map(), { at: [7] });
    for (const source of [progress, await open()]) {
      const found = (await source.load('one.safetensors'))!;
      expect([...found.tensors].sort()).toEqual([...tensors].sort());
      expect(Object.is(found.tensors.get('b')!.data[1], -0)).toBe(true);
      expect(found.notes).toEqual(notes);
      expect(await source.load('two.safetensors')).toEqual({
        tensors: new Map(),
        bytes: new Map(),
        notes: { at: [7] },
      });
      expect([...found.bytes]).toEqual([['packed', { shape: [2, 2], data: Uint8Array.of(0, 255, 7, 128) }]]);
      expect(
        ['one.safetensors', 'two.safetensors', 'three.safetensors'].map((name) => source.has(name)),
      ).toEqual([true, true, false]);
      expect(await source.load('three.safetensors')).toBeUndefined();
    }
  });

  it.each([NaN, Infinity, -Infinity])('is no calibration that went wrong: %d', async (x) => {
    const progress = await open();
    const broken = new Map([...tensors, ['layer.lora_A', { shape: [2], data: Float32Array.of(1, x) }]]);
    expect(await complaint(() => progress.save('one.safetensors', broken, notes))).toMatch(
      /NaN or infinite numbers for layer\.lora_A; lower/,
    );
    expect(progress.has('one.safetensors')).toBe(false);
  });

  it('is replaced by what is saved later, and gone when it is removed', async () => {
    const progress = await open();
    await progress.save('one.safetensors', tensors, notes);
    await progress.save('one.safetensors', new Map(), notes);
    expect((await progress.load('one.safetensors'))!.tensors.size).toBe(0);
    await progress.remove('one.safetensors');
    await progress.remove('one.safetensors');
    expect(progress.has('one.safetensors')).toBe(false);
    expect(await progress.load('one.safetensors')).toBeUndefined();
  });

  it('goes with the folder', async () => {
    const progress = await open();
    await progress.save('one.safetensors', tensors, notes);
    await progress.end();
    expect(existsSync(`${out}.partial`)).toBe(false);
  });

  it('goes alone: what else was put into the folder stays', async () => {
    const progress = await open();
    await progress.save('one.safetensors', tensors, notes);
    await writeFile(file('thesis.txt'), 'years of work');
    await mkdir(file('chapters'));
    await progress.end();
    expect((await readdir(`${out}.partial`)).sort()).toEqual(['chapters', 'thesis.txt']);
  });

  it('is discarded, and nothing else is', async () => {
    await (await open()).save('one.safetensors', tensors, notes);
    expect(await progressMade(out)).toEqual({ blocks: 0, epochs: 0 });
    await rm(file('identity.json'));
    await discardProgress(out);
    expect(existsSync(file('one.safetensors'))).toBe(true);
    await writeFile(file('identity.json'), '{}');
    await discardProgress(out);
    expect(existsSync(`${out}.partial`)).toBe(false);
    expect(await progressMade(out)).toBeUndefined();
  });
});

describe('opening', () => {
  it('refuses progress that nobody asked to resume', async () => {
    await open();
    expect(await complaint(() => open(IDENTITY, false))).toBe(
      'OUT.partial holds an unfinished calibration; continue it with --resume, or delete it to start again.',
    );
  });

  it('starts anew where there is nothing to resume', async () => {
    await open(IDENTITY, true);
    const saved: unknown = JSON.parse(await readFile(file('identity.json'), 'utf8'));
    expect(saved).toEqual({ format: expect.any(Number) as number, ...IDENTITY });
  });

  it.each<[string, object, string]>([
    ['a value', { ...IDENTITY, model: 'abd' }, 'model'],
    ['a nested value', { ...IDENTITY, options: { ...IDENTITY.options, seed: 1 } }, 'options.seed'],
    [
      'an item of a list',
      { ...IDENTITY, options: { ...IDENTITY.options, groups: [{ bits: [7, 6], rank: 2 }] } },
      'options.groups.0.bits.1',
    ],
    [
      'a longer list',
      { ...IDENTITY, options: { ...IDENTITY.options, groups: [{ bits: [7, 8, 6], rank: 2 }] } },
      'options.groups.0.bits.2',
    ],
    ['a shorter list', { ...IDENTITY, options: { ...IDENTITY.options, groups: [] } }, 'options.groups.0'],
    ['a missing key', { model: 'abc', samples: 64 }, 'options'],
    ['a new key', { ...IDENTITY, extra: null }, 'extra'],
    ['a value for an object', { ...IDENTITY, options: null }, 'options'],
  ])('names the first difference: %s', async (_, identity, path) => {
    await open();
    expect(await complaint(() => open(identity))).toBe(
      `OUT.partial was made with another "${path}"; resume with the same settings, model and data, or delete it.`,
    );
  });

  it.each([
    ['an older format', { format: 1, ...IDENTITY }],
    ['a newer format', { format: 99, ...IDENTITY }],
    ['none, as the first versions left it', IDENTITY],
    ['another format and another identity', { format: 99, model: 'abd' }],
  ])('refuses progress of %s, whatever else differs', async (_, saved) => {
    await mkdir(`${out}.partial`);
    await writeFile(file('identity.json'), JSON.stringify(saved));
    expect(await complaint(() => open())).toBe(
      'OUT.partial was begun by another version of Elastic Precision, whose progress this one cannot continue; delete it to start again.',
    );
  });

  it('resumes where the set was written and the progress not yet removed', async () => {
    await (await open()).save('block-0.safetensors', tensors, notes);
    await mkdir(out);
    await writeFile(join(out, 'adapter_config.json'), '{}');
    expect(await (await open()).load('block-0.safetensors')).toBeDefined();
  });

  it('takes nothing from a folder whose identity is not known', async () => {
    await (await open()).save('block-0.safetensors', tensors, notes);
    await rm(file('identity.json'));
    expect(await complaint(() => open(IDENTITY, false))).toMatch(
      /^OUT\.partial holds block-0\.safetensors and no identity\.json; delete the folder/,
    );
  });

  it('goes on after a kill before the identity was written, and clears what a killed process left', async () => {
    await mkdir(`${out}.partial`);
    // No process has this number: they end far below.
    const left = '.identity.json.999999999-0123abcd.partial';
    await writeFile(file(left), 'torn');
    await open(IDENTITY, false);
    await open();
    expect(await readdir(`${out}.partial`)).toEqual(['identity.json']);
  });

  it('says so where the identity cannot be read', async () => {
    await open();
    await writeFile(file('identity.json'), '{"model": ');
    expect(await complaint(() => open())).toMatch(/^identity\.json: the JSON ends too early/);
  });
});

describe('a damaged file', () => {
  const damages: [string, (bytes: Buffer) => Buffer][] = [
    ['cut off', (bytes) => bytes.subarray(0, bytes.length - 8)],
    ['empty', () => Buffer.alloc(0)],
    ['no safetensors', () => Buffer.from('not a safetensors file at all')],
    [
      'with one bit flipped in a tensor',
      (bytes) => Buffer.concat([bytes.subarray(0, -1), Buffer.of(bytes.at(-1)! ^ 1)]),
    ],
    [
      'with another loss',
      (bytes) => Buffer.from(bytes.toString('latin1').replace('"last":"[', '"last":"[1'), 'latin1'),
    ],
    [
      'with a digit lost',
      (bytes) => Buffer.from(bytes.toString('latin1').replace(/("first":"\[\d\.)\d/, '$1x'), 'latin1'),
    ],
  ];

  it.each(damages)('is refused, %s, and named to be deleted', async (_, damage) => {
    const progress = await open();
    await progress.save('one.safetensors', tensors, notes);
    const bytes = await readFile(file('one.safetensors'));
    const damaged = damage(bytes);
    expect(damaged.equals(bytes)).toBe(false);
    await writeFile(file('one.safetensors'), damaged);
    const message = await complaint(() => progress.load('one.safetensors'));
    expect(message).toMatch(/^one\.safetensors: /);
    expect(message).toContain(`Delete ${join('OUT.partial', 'one.safetensors')} to compute it again.`);
    await rm(file('one.safetensors'));
    expect(await progress.load('one.safetensors')).toBeUndefined();
  });

  it('is refused where tensors are missing', async () => {
    const progress = await open();
    await progress.save('one.safetensors', tensors, notes);
    const source = await openSafetensors(file('one.safetensors'));
    const metadata = Object.fromEntries(source.metadata);
    await source.close();
    await writeSafetensors(file('one.safetensors'), [], metadata);
    expect(await complaint(() => progress.load('one.safetensors'))).toMatch(
      /^one\.safetensors: not as it was written\. Delete/,
    );
  });
});

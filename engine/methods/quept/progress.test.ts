import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/fixtures.js';
import { UserError } from '../../errors.js';
import { openProgress, type FinishedBlock } from './progress.js';
import type { Snapshot } from './reconstruct.js';
import { normals } from './testing.js';

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
const open = (identity: unknown = IDENTITY, resume = true) => openProgress(out, identity, resume);
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
const block: FinishedBlock = {
  tensors: new Map([
    ['a.lora_A', normals([3, 4], 'a')],
    ['a.clip_upper.4', { shape: [5, 1], data: hard }],
    ['b.empty', { shape: [0, 4], data: new Float32Array() }],
  ]),
  started: new Map([['a.clip_upper.4', normals([5, 1], 'start')]]),
  first: [1 / 3, 2.5],
  last: [1e-300, 0],
};
const snapshot: Snapshot = {
  epoch: 3,
  state: new Map([['lora', normals([40], 'lora').data], ['lora.m', hard], ['clip.0.v', new Float32Array(7)]]), // prettier-ignore
  first: [0.1, 0.2],
  last: [0.05, 1 / 7],
};

describe('what was saved', () => {
  it('comes back to the last bit, blocks by number', async () => {
    const progress = await open();
    await progress.finishBlock(0, block);
    await progress.finishBlock(11, { ...block, first: [7] });
    const again = await open();
    for (const source of [progress, again]) {
      const { tensors, started, ...rest } = (await source.block(0))!;
      expect(rest).toEqual({ first: block.first, last: block.last });
      expect([...tensors].sort()).toEqual([...block.tensors].sort());
      expect(started).toEqual(block.started);
      expect(Object.is(tensors.get('a.clip_upper.4')!.data[1], -0)).toBe(true);
      expect((await source.block(11))!.first).toEqual([7]);
      expect(await source.block(1)).toBeUndefined();
    }
  });

  it('comes back for an epoch of the block in work, and for no other', async () => {
    const progress = await open();
    expect(await progress.epoch(0)).toBeUndefined();
    await progress.saveEpoch(2, { ...snapshot, epoch: 1 });
    await progress.saveEpoch(2, snapshot);
    const again = await open();
    const found = (await again.epoch(2))!;
    expect([...found.state].sort()).toEqual([...snapshot.state].sort());
    expect({ ...found, state: snapshot.state }).toEqual(snapshot);
    expect(await again.epoch(1)).toBeUndefined();
    await again.finishBlock(2, block);
    expect(await again.epoch(2)).toBeUndefined();
  });

  it('goes with the folder', async () => {
    const progress = await open();
    await progress.finishBlock(0, block);
    await progress.remove();
    expect(existsSync(`${out}.partial`)).toBe(false);
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
    expect(JSON.parse(await readFile(file('identity.json'), 'utf8'))).toEqual(IDENTITY);
  });

  it.each<[string, unknown, string]>([
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

  it('does not overwrite an adapter set', async () => {
    await mkdir(out);
    await writeFile(join(out, 'adapter_config.json'), '{}');
    expect(await complaint(() => open())).toBe(
      'OUT already holds an adapter set; choose another folder or delete it.',
    );
  });

  it('resumes where the set was written and the progress not yet removed', async () => {
    await (await open()).finishBlock(0, block);
    await mkdir(out);
    await writeFile(join(out, 'adapter_config.json'), '{}');
    expect(await (await open()).block(0)).toBeDefined();
  });

  it('takes nothing from a folder whose identity is not known', async () => {
    await (await open()).finishBlock(0, block);
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
    await progress.finishBlock(0, block);
    await progress.saveEpoch(1, snapshot);
    for (const [name, load] of [
      ['block-0.safetensors', () => progress.block(0)],
      ['epoch.safetensors', () => progress.epoch(1)],
    ] as const) {
      const bytes = await readFile(file(name));
      const damaged = damage(bytes);
      expect(damaged.equals(bytes)).toBe(false);
      await writeFile(file(name), damaged);
      const message = await complaint(load);
      expect(message).toMatch(new RegExp(`^${name}: `));
      expect(message).toContain(`Delete ${join('OUT.partial', name)} to compute it again.`);
      await rm(file(name));
      expect(await load()).toBeUndefined();
    }
  });

  it('is refused where tensors are missing', async () => {
    const progress = await open();
    await progress.finishBlock(0, block);
    const { writeSafetensors, openSafetensors } = await import('../../formats/safetensors.js');
    const source = await openSafetensors(file('block-0.safetensors'));
    const metadata = Object.fromEntries(source.metadata);
    await source.close();
    await writeSafetensors(file('block-0.safetensors'), [], metadata);
    expect(await complaint(() => progress.block(0))).toMatch(
      /^block-0\.safetensors: not as it was written\. Delete/,
    );
  });
});

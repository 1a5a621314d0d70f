import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { writeSensitivity } from '../formats/sensitivity.js';
import { complaint, useTemporaryFolder } from '../formats/testing.js';
import type { SensitivityRequest } from '../protocol/protocol.js';
import { discardMeasured, isUnfinished, openMeasured, openSensitivityOutput } from './sensitivity-file.js';

const at = useTemporaryFolder();
const identity = {
  model: { family: 'vit', name: 'vit', fingerprint: 'a'.repeat(64) },
  tensors_sha256: 'b'.repeat(64),
  calibration: { name: 'pictures', samples: 8, fingerprint: 'c'.repeat(64) },
  kind: 'measured' as const,
  bits: [4, 8],
  layers: ['q', 'k', 'v'],
};

describe('an unfinished measurement', () => {
  it('goes on where it is resumed, and is not overwritten where it is not', async () => {
    const out = at('sensitivity.json');
    const first = await openMeasured(out, identity, false);
    await first.add([2, 1]);
    await first.add([4, 3]);
    const kept = await readFile(`${out}.partial`, 'utf8');
    expect(isUnfinished(out)).toBe(true);

    expect(await complaint(() => openMeasured(out, identity, false))).toBe(
      `${out}.partial holds an unfinished measurement; continue it with --resume, or delete it to start again.`,
    );
    expect(await readFile(`${out}.partial`, 'utf8')).toBe(kept);

    const { costs } = await openMeasured(out, identity, true);
    expect(costs).toEqual([
      [2, 1],
      [4, 3],
    ]);
    await discardMeasured(out);
    expect(isUnfinished(out)).toBe(false);
    expect((await openMeasured(out, identity, false)).costs).toEqual([]);
  });

  it('of something else is refused, and so is one that is no such file', async () => {
    const out = at('sensitivity.json');
    await (await openMeasured(out, identity, false)).add([2, 1]);
    const other = { ...identity, tensors_sha256: 'd'.repeat(64) };
    expect(await complaint(() => openMeasured(out, other, true))).toMatch(
      /measured on something else; resume/,
    );
    await writeFile(`${out}.partial`, '{"identity":');
    expect(await complaint(() => openMeasured(out, identity, true))).toContain('sensitivity.json.partial');
  });
});

describe('the place of a measurement', () => {
  const DIGEST = 'b'.repeat(64);
  const request = (more: Partial<SensitivityRequest> = {}) => ({ adapters: at('set'), ...more });
  const opens = async (more?: Partial<SensitivityRequest>) => {
    const output = await openSensitivityOutput(request(more));
    await output.release();
    return output;
  };
  const measured = (tensors_sha256 = DIGEST) =>
    writeSensitivity(at('set', 'sensitivity.json'), {
      ...{ schema_version: 1, engine_version: '0', ...identity, tensors_sha256 },
      costs: identity.layers.map(() => [2, 1]),
    });

  beforeEach(async () => {
    await mkdir(at('set'));
    await writeFile(at('set', 'adapter_config.json'), JSON.stringify({ tensors_sha256: DIGEST }));
  });

  it('is in the set, or a file in folders that need not be there, and leaves no trace', async () => {
    expect((await opens()).place).toBe(at('set', 'sensitivity.json'));
    expect((await opens({ out: `${at('a')}/../b/x.json` })).place).toBe(at('b', 'x.json'));
    expect([await readdir(at()), await readdir(at('set'))]).toEqual([['set'], ['adapter_config.json']]);
  });

  it.each<[string, Partial<SensitivityRequest>, RegExp]>([
    ['a folder', { out: 'folder' }, /it is a folder/],
    ['below a file', { out: 'file/x.json' }, /not a folder/],
    [
      'a file of the set, even where it may replace',
      { out: 'set/adapter_config.json', force: true },
      /is not a sensitivity/,
    ],
    ['marked as unfinished', { out: 'x.partial' }, /ends in \.partial/],
    ['too long', { out: 'n'.repeat(250) }, /too long/],
  ])('that is %s is refused before any work', async (_, { out, ...more }, reason) => {
    await mkdir(at('folder'));
    await writeFile(at('file'), '');
    expect(await complaint(() => opens({ out: at(out!), ...more }))).toMatch(reason);
    expect((await readdir(at())).sort()).toEqual(['file', 'folder', 'set']);
  });

  it('has one writer', async () => {
    const first = await openSensitivityOutput(request());
    expect(await complaint(() => opens({ resume: true }))).toMatch(/is being written by process/);
    await first.release();
    await opens();
  });

  it('is not overwritten unless that is asked for; resumed, it is finished', async () => {
    await measured();
    expect(await complaint(() => opens())).toMatch(/is there already; .* --force/);
    expect((await opens({ resume: true })).finished).toMatchObject(identity);
    expect((await opens({ force: true })).finished).toBeUndefined();
    await measured('d'.repeat(64));
    expect(await complaint(() => opens({ resume: true }))).toMatch(/is there already/);
  });

  it('keeps an unfinished measurement, unless it is to be started over', async () => {
    const out = at('set', 'sensitivity.json');
    await (await openMeasured(out, identity, false)).add([2, 1]);
    expect(await complaint(() => opens())).toMatch(/unfinished measurement; continue it with --resume/);
    await opens({ resume: true });
    expect(isUnfinished(out)).toBe(true);
    await opens({ force: true });
    expect(isUnfinished(out)).toBe(false);
  });
});

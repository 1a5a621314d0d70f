import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { complaint, useTemporaryFolder } from '../formats/testing.js';
import { CONFIG_FILE, TENSORS_FILE, writeSetFiles } from '../formats/set.js';
import type { SetConfig } from '../formats/set-config.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { CommonSettings } from './method.js';
import { openProgress } from './progress.js';
import { openSetOutput, type OutputRequest } from './set-output.js';

const at = useTemporaryFolder();
const FINGERPRINT = 'ab'.repeat(32);
const settings: CommonSettings = { mode: 'weight-only', samples: 0, batch: 1, seed: 3, offered: [8, 4] };
const asked = () => ({
  checkpoint: { folder: at('model'), fingerprint: () => Promise.resolve(FINGERPRINT) } as Checkpoint,
  method: { name: 'rounding' },
  settings,
});
const open = (out: string, more: Partial<OutputRequest> = {}) =>
  openSetOutput({ out, resume: false, force: false, ...more }, asked());
const opens = async (out: string, more?: Partial<OutputRequest>) => {
  const output = await open(out, more);
  await output.release();
  return output;
};

beforeEach(async () => {
  await mkdir(at('model'));
  await writeFile(at('model', 'config.json'), '{}');
});

/** A set as `calibrate` would write it. */
async function writeSet(folder: string, seed = settings.seed): Promise<void> {
  const config: SetConfig = {
    ...{ schema_version: 2, engine_version: '0', mode: settings.mode, seed, offered: settings.offered },
    model: { family: 'vit', fingerprint: FINGERPRINT, name: 'model' },
    ...{ embedding_bits: 32, head_bits: 32, transforms: [], layers: {} },
    method: { name: 'rounding', activations: 'token', products: [] },
  };
  await writeSetFiles(folder, config, new Map(), new Map());
}

/** What a killed calibration leaves. */
async function leaveProgress(out: string): Promise<void> {
  const progress = await openProgress(out, { seed: settings.seed }, false);
  await progress.save('block-0.safetensors', new Map(), {});
}

describe('a place for an adapter set', () => {
  it('is found fit without a trace, its missing folders too', async () => {
    const { place } = await opens(at('a', 'b', 'set'));
    expect(place).toBe(at('a', 'b', 'set'));
    expect(await readdir(at())).toEqual(['model']);
  });

  it('has one name, with a slash at its end or through a link', async () => {
    await mkdir(at('real'));
    await symlink('real', at('link'));
    for (const name of ['real/set', 'real/set/', 'link/set', 'real/../link/./set//'])
      expect((await opens(`${at()}/${name}`)).place).toBe(at('real', 'set'));
    await mkdir(at('real', 'set'));
    await symlink('real/set', at('to-set'));
    expect((await opens(at('to-set'))).place).toBe(at('real', 'set'));
  });

  it.each<[string, () => string, RegExp]>([
    ['empty', () => ' ', /is empty; name a place/],
    ['a file', () => at('file'), /there is a file of that name/],
    ['below a file', () => at('file', 'set'), /a part of the path is not a folder/],
    ['a device', () => '/dev/null', /there is a file of that name/],
    ['a link that leads nowhere', () => at('dangling'), /a link that leads nowhere/],
    ['a circle of links', () => at('circle'), /too many symbolic links/],
    ['too long a name', () => at('n'.repeat(250)), /the name is too long/],
    ['too long a path', () => at(...Array<string>(50).fill('n'.repeat(100))), /the name is too long/],
    ['where another keeps progress', () => at('set.partial'), /ends in \.partial/],
    ['one whose progress cannot lie beside it', () => at('taken'), /there is a file of that name/],
    ['the model', () => at('model'), /is the model's folder/],
    ['a link to the model', () => at('to-model'), /is the model's folder/],
    ['a folder above the model', () => at(), /holds "circle", which is not part of an adapter set/],
    ['one with a folder for its tensors', () => at('odd'), /adapter_model\.safetensors: it is a folder/],
    ['another model', () => at('other'), /holds "model\.safetensors", which is not part/],
  ])('that is %s is refused in one line, and nothing is left', async (_, out, reason) => {
    await writeFile(at('file'), '');
    await writeFile(at('taken.partial'), '');
    await symlink('nowhere', at('dangling'));
    await symlink('circle', at('circle'));
    await symlink('model', at('to-model'));
    await mkdir(at('other'));
    await writeFile(at('other', 'model.safetensors'), '');
    await mkdir(at('odd'));
    await symlink('../model', at('odd', TENSORS_FILE));
    const before = await readdir(at());
    expect(await complaint(() => open(out(), { force: true, resume: true }))).toMatch(reason);
    expect(await readdir(at())).toEqual(before);
  });

  it("may lie in the model's folder, and hold what file managers leave", async () => {
    await mkdir(at('model', 'adapters', 'set'), { recursive: true });
    await writeFile(at('model', 'adapters', 'set', '.DS_Store'), '');
    await opens(at('model', 'adapters', 'set'));
  });

  it.skipIf(process.getuid?.() === 0 || process.platform === 'win32')('must be writable', async () => {
    await mkdir(at('read-only', 'set'), { recursive: true });
    await chmod(at('read-only', 'set'), 0o500);
    expect(await complaint(() => open(at('read-only', 'set')))).toMatch(/permission denied/);
    await chmod(at('read-only'), 0o500);
    expect(await complaint(() => open(at('read-only', 'other')))).toMatch(/permission denied/);
    await chmod(at('read-only'), 0o700);
  });

  it('has one writer at a time', async () => {
    const starts = await Promise.allSettled([
      open(at('set')),
      open(`${at('set')}/`),
      open(at('set'), { resume: true }),
    ]);
    const [first, ...others] = starts.filter(({ status }) => status === 'fulfilled');
    expect(others).toEqual([]);
    for (const each of starts)
      if (each.status === 'rejected') expect(String(each.reason)).toMatch(/is being written by process \d+;/);
    if (first?.status === 'fulfilled') await first.value.release();
    await opens(at('set'));
  });
});

describe('what is there', () => {
  it('is not overwritten unless that is asked for', async () => {
    await writeSet(at('set'));
    expect(await complaint(() => open(at('set')))).toMatch(/already holds an adapter set; .* --force\.$/);
    await opens(at('set'), { force: true });
    expect((await readdir(at('set'))).sort()).toEqual([CONFIG_FILE, TENSORS_FILE]);
    await leaveProgress(at('other'));
    expect(await complaint(() => open(at('other')))).toMatch(
      /unfinished calibration; continue it with --resume/,
    );
    await opens(at('other'), { resume: true });
    expect(await readdir(at('other.partial'))).toContain('block-0.safetensors');
    await opens(at('other'), { force: true });
    expect(await readdir(at())).toEqual(['model', 'set']);
  });

  it("and is nobody's progress, stays", async () => {
    await mkdir(at('set.partial'));
    for (const name of ['block-0.safetensors', 'thesis.txt']) {
      await writeFile(at('set.partial', name), 'years of work');
      for (const force of [false, true])
        expect(await complaint(() => open(at('set'), { force }))).toMatch(/holds .* and no identity\.json/);
      await rm(at('set.partial', name));
      expect(await readdir(at('set.partial'))).toEqual([]);
    }
  });
});

describe('a calibration killed at its end', () => {
  it.each([
    ['with', true],
    ['without', false],
  ])('is finished, %s progress left', async (_, left) => {
    if (left) await leaveProgress(at('set'));
    await writeSet(at('set'));
    expect((await opens(at('set'), { resume: true })).finished).toMatchObject({ seed: settings.seed });
    expect(await readdir(at())).toEqual(['model', 'set']);
  });

  it('goes on where tensors and config do not belong together yet', async () => {
    await leaveProgress(at('set'));
    await writeSet(at('set'));
    const config = await readFile(at('set', CONFIG_FILE), 'utf8');
    await writeFile(
      at('set', CONFIG_FILE),
      config.replace(/"tensors_sha256": ".{4}/, '"tensors_sha256": "0000'),
    );
    expect((await opens(at('set'), { resume: true })).finished).toBeUndefined();
    expect(await readdir(at('set.partial'))).toContain('block-0.safetensors');
  });

  it('is not taken for finished by the set that it is to replace', async () => {
    await writeSet(at('set'));
    const output = await open(at('set'), { force: true });
    await leaveProgress(at('set'));
    await output.release();
    expect((await opens(at('set'), { resume: true })).finished).toBeUndefined();
    expect(await readdir(at('set.partial'))).toContain('block-0.safetensors');
  });

  it('is refused where another set lies there meanwhile', async () => {
    await writeSet(at('set'), 4);
    expect(await complaint(() => open(at('set'), { resume: true }))).toMatch(/already holds an adapter set/);
    await leaveProgress(at('set'));
    expect(await complaint(() => open(at('set'), { resume: true }))).toMatch(/already holds an adapter set/);
  });
});

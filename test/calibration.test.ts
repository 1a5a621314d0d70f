/** The calibrate command as a user runs it: determinism, SIGKILL and resume, refusals. Runs the built command line. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvaluateResult } from '../engine/protocol/protocol.js';
import { temporaryFolder, TINY_VIT, writeRandomModel, writeRandomPictures } from './fixtures.js';
import { runCli } from './cli-run.js';

let folder: string;
let cleanUp: () => Promise<void>;
let data: string;
let model: string;

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  model = join(folder, 'model');
  await writeRandomModel(model);
  data = await writeRandomPictures(join(folder, 'pictures'), 64);
});
afterAll(() => cleanUp());

const settings = [
  '--bits',
  '2-8',
  '--rank',
  '2',
  '--samples',
  '64',
  '--epochs',
  '4',
  '--batch',
  '16',
  '--device',
  'cpu',
  '--threads',
  '1',
];
const command = (out: string, ...more: string[]) => [
  'calibrate',
  model,
  '--data',
  data,
  '--out',
  join(folder, out),
  ...settings,
  ...more,
];
const hashes = async (out: string) =>
  Promise.all(
    ['adapter_config.json', 'adapter_model.safetensors'].map(async (name) =>
      createHash('sha256')
        .update(await readFile(join(folder, out, name)))
        .digest('hex'),
    ),
  );

describe('calibrate', () => {
  it('gives the same bytes for the same seed, and others for another', async () => {
    const { code, stderr } = await runCli(command('first'));
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^About \d.* on cpu, with up to .*B of memory and .*B on disk\.\nCalibrating {3}0 % · reading samples\n/,
    );
    expect(await runCli(command('second'))).toMatchObject({ code: 0 });
    expect(await runCli(command('other', '--seed', '1'))).toMatchObject({ code: 0 });
    expect(await hashes('second')).toEqual(await hashes('first'));
    expect((await hashes('other'))[1]).not.toBe((await hashes('first'))[1]);
    expect(existsSync(join(folder, 'first.partial'))).toBe(false);
  });

  // Each moment is a file that has just appeared, so that what is killed does not depend on the machine's speed.
  it.each([
    ['right after the start', 'identity.json'],
    ['in the middle of the first block', 'epoch.safetensors'],
    ['between blocks', 'block-0.safetensors'],
    ['before the adapter set is written', 'block-1.safetensors'],
  ])('killed %s and resumed, ends with the same bytes', async (_when, file) => {
    const out = `killed-${file}`;
    await killOnceThereIs(command(out), join(folder, `${out}.partial`, file));
    expect(existsSync(join(folder, out, 'adapter_config.json'))).toBe(false);
    expect(await runCli(command(out, '--resume'))).toMatchObject({ code: 0 });
    expect(await hashes(out)).toEqual(await hashes('first'));
  });

  it('killed again and again, ends with the same bytes', async () => {
    const [out, partial] = ['often', join(folder, 'often.partial')];
    for (const file of ['identity.json', 'epoch.safetensors', 'block-0.safetensors', 'epoch.safetensors'])
      await killOnceThereIs(command(out, '--resume'), join(partial, file));
    expect(await runCli(command(out, '--resume'))).toMatchObject({ code: 0 });
    expect(await hashes(out)).toEqual(await hashes('first'));
  });

  it('does not overwrite progress or results, and says what to do', async () => {
    await killOnceThereIs(command('kept'), join(folder, 'kept.partial', 'epoch.safetensors'));
    const again = await runCli(command('kept'));
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/kept\.partial holds an unfinished calibration; continue it with --resume/);
    const different = await runCli(command('kept', '--resume', '--epochs', '5'));
    expect(different).toMatchObject({ code: 1 });
    expect(different.stderr).toMatch(/another "options\.epochs"/);
    const finished = await runCli(command('first'));
    expect(finished).toMatchObject({ code: 1 });
    expect(finished.stderr).toMatch(/already holds an adapter set/);
  });

  it('gives the same bytes when activations do not fit into memory, killed or not, and leaves no file of them', async () => {
    const inFile = ['--cache-memory', '1kB'];
    expect(await runCli(command('small-cache', ...inFile))).toMatchObject({ code: 0 });
    expect(await hashes('small-cache')).toEqual(await hashes('first'));
    const out = 'small-cache-killed';
    const activations = async () =>
      (await readdir(folder)).filter((name) => name.startsWith('.activations.'));
    await killOnceThereIs(command(out, ...inFile), join(folder, `${out}.partial`, 'epoch.safetensors'));
    expect(await activations()).not.toEqual([]);
    expect(await runCli(command(out, '--resume', ...inFile))).toMatchObject({ code: 0 });
    expect(await activations()).toEqual([]);
    expect(await hashes(out)).toEqual(await hashes('first'));
  });

  it('keeps what is done when interrupted, and resumes to the same bytes', async () => {
    const out = 'interrupted';
    const { code, stderr } = await signalOnceThereIs(
      command(out),
      join(folder, `${out}.partial`, 'epoch.safetensors'),
      'SIGINT',
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/continue with --resume/);
    expect(await runCli(command(out, '--resume'))).toMatchObject({ code: 0 });
    expect(await hashes(out)).toEqual(await hashes('first'));
  });

  it('prints one JSON object on stdout with --json', async () => {
    const { code, stdout } = await runCli(command('json', '--json'));
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ device: 'cpu', bits: [8, 7, 6, 5, 4, 3, 2], samples: 64 });
  });

  it('refuses an adapter set after the model has changed', async () => {
    const changed = join(folder, 'changed');
    await writeRandomModel(changed, TINY_VIT, 9);
    const { code, stderr } = await runCli([
      'evaluate',
      changed,
      '--data',
      data,
      '--adapters',
      join(folder, 'first'),
      '--device',
      'cpu',
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/was calibrated for another model/);
  });

  it('names and skips pictures that cannot be read', async () => {
    const sharp = (await import('sharp')).default;
    const pictures = join(folder, 'folder');
    await writeRandomPictures(pictures, 1);
    await rm(pictures, { recursive: true });
    const { mkdir } = await import('node:fs/promises');
    for (const name of ['a', 'b']) {
      await mkdir(join(pictures, name), { recursive: true });
      for (let i = 0; i < 8; i++)
        await sharp(Buffer.alloc(64, i * 20), { raw: { width: 8, height: 8, channels: 1 } })
          .png()
          .toFile(join(pictures, name, `${i}.png`));
    }
    await writeFile(join(pictures, 'a', 'broken.png'), 'not a picture');
    const args = [
      'evaluate',
      model,
      '--data',
      pictures,
      '--adapters',
      join(folder, 'first'),
      '--bits',
      '8',
      '--device',
      'cpu',
      '--json',
    ];
    const { code, stdout, stderr } = await runCli(args);
    expect(code).toBe(0);
    expect(stderr).toMatch(/broken\.png/);
    const result = JSON.parse(stdout) as { skipped: unknown[]; rows: { samples: number }[] };
    expect(result.skipped).toHaveLength(1);
    expect(result.rows[0]!.samples).toBe(16);
  });
});

describe('calibrate, of a language model', () => {
  const samples = join(import.meta.dirname, '../samples');
  const text = join(samples, 'llama-speeches');
  const speeches = (kind: string) => join(samples, `data/speeches/${kind}.txt`);
  // So little training shows only from a searched start.
  const few = [
    '--method',
    'quept',
    '--samples',
    '16',
    '--length',
    '32',
    '--epochs',
    '2',
    '--batch',
    '8',
    '--clip-start',
    'search',
  ];
  const small = ['--bits', '2,8', '--rank', '4', ...few];
  const calibration = (out: string, ...more: string[]) => [
    ...['calibrate', text, '--data', speeches('calibration'), '--out', join(folder, out), ...small],
    ...['--device', 'cpu', '--threads', '1', ...more],
  ];

  it('gives an adapter set whose perplexity at 2 bits is far below that of rounding', async () => {
    expect(await runCli(calibration('text'))).toMatchObject({ code: 0 });
    const evaluation = [
      'evaluate',
      text,
      '--data',
      speeches('evaluation'),
      '--limit',
      '40',
      '--length',
      '32',
    ];
    const options = ['--adapters', join(folder, 'text'), '--baseline', 'rtn', '--device', 'cpu', '--json'];
    const { code, stdout } = await runCli([...evaluation, ...options]);
    expect(code).toBe(0);
    const { task, data, rows } = JSON.parse(stdout) as EvaluateResult;
    expect([task, data]).toEqual(['perplexity', 'evaluation.txt']);
    const at = (label: string, bits: number | 'fp') =>
      rows.find((r) => r.label === label && r.bits === bits)!.perplexity!;
    expect(at('text', 2)).toBeLessThan(0.8 * at('rounding', 2));
    expect(at('text', 8) / at('full', 'fp')).toBeCloseTo(1, 2);
  });

  it('killed in the middle and resumed, ends with the same bytes', async () => {
    await killOnceThereIs(
      calibration('text-killed'),
      join(folder, 'text-killed.partial', 'block-2.safetensors'),
    );
    expect(await runCli(calibration('text-killed', '--resume'))).toMatchObject({ code: 0 });
    expect(await hashes('text-killed')).toEqual(await hashes('text'));
  });

  const both = (out: string, ...more: string[]) => [
    ...['calibrate', text, '--data', speeches('calibration'), '--out', join(folder, out), ...few],
    ...['--mode', 'weight-activation', '--bits', '4,8', '--rank', '4', '--kv-bits', '8'],
    ...['--device', 'cpu', '--threads', '1', ...more],
  ];

  it('of weights and activations is better than rounding as the model is, and compared with it rotated', async () => {
    expect(await runCli(both('both'))).toMatchObject({ code: 0 });
    const evaluation = ['evaluate', text, '--data', speeches('evaluation'), '--limit', '40'];
    const options = ['--adapters', join(folder, 'both'), '--baseline', 'rtn', '--device', 'cpu', '--json'];
    const { code, stdout } = await runCli([...evaluation, '--length', '32', ...options]);
    expect(code).toBe(0);
    const { rows } = JSON.parse(stdout) as EvaluateResult;
    const labels = ['full', 'rounding', 'rounding, rotated', 'both'];
    expect([...new Set(rows.map((r) => r.label))]).toEqual(labels);
    const [, rounding, rotated, own] = labels.map((label) =>
      rows.filter((r) => r.label === label).map((r) => r.perplexity!),
    );
    const full = rows[0]!.perplexity!;
    expect(own![0]! / full).toBeCloseTo(1, 2);
    expect(own![1]! - full).toBeLessThan(0.9 * (rounding![1]! - full));
    expect(rotated![1]!).toBeLessThan(rounding![1]!);
  });

  it('of weights and activations, killed and resumed, ends with the same bytes', async () => {
    await killOnceThereIs(both('both-killed'), join(folder, 'both-killed.partial', 'block-2.safetensors'));
    expect(await runCli(both('both-killed', '--resume'))).toMatchObject({ code: 0 });
    expect(await hashes('both-killed')).toEqual(await hashes('both'));
  });

  it('by the loss, killed on the way back and resumed, ends with the same bytes', async () => {
    const byLoss = (out: string, ...more: string[]) => [
      ...['calibrate', text, '--data', speeches('calibration'), '--out', join(folder, out)],
      ...[
        '--method',
        'oac',
        '--backend',
        'spqr',
        '--average-bits',
        '2.3',
        '--samples',
        '8',
        '--length',
        '32',
      ],
      ...['--device', 'cpu', '--threads', '1', ...more],
    ];
    expect(await runCli(byLoss('loss'))).toMatchObject({ code: 0 });
    // The last block is the first to be done.
    await killOnceThereIs(byLoss('loss-killed'), join(folder, 'loss-killed.partial', 'block-3.safetensors'));
    expect(await runCli(byLoss('loss-killed', '--resume'))).toMatchObject({ code: 0 });
    expect(await hashes('loss-killed')).toEqual(await hashes('loss'));
  });
});

describe.each([
  ['all blocks at once', ['--effort', 'best', '--bits', '3,2'], 'distilled-3-block-0'],
  ['weighted by the loss', ['--weighting', 'loss', '--bits', '2'], 'loss-block-3'],
])('calibrate, by the direct method, %s', (name, options, file) => {
  it('killed and resumed, ends with the same bytes', async () => {
    const samples = join(import.meta.dirname, '../samples');
    const direct = (out: string, ...more: string[]) => [
      ...['calibrate', join(samples, 'llama-speeches'), '--out', join(folder, out), '--method', 'direct'],
      ...['--data', join(samples, 'data/speeches/calibration.txt'), '--samples', '8', '--length', '32'],
      ...[...options, '--device', 'cpu', '--threads', '1', ...more],
    ];
    expect(await runCli(direct(name))).toMatchObject({ code: 0 });
    const killed = `${name}, killed`;
    await killOnceThereIs(direct(killed), join(folder, `${killed}.partial`, `${file}.safetensors`));
    expect(await runCli(direct(killed, '--resume'))).toMatchObject({ code: 0 });
    expect(await hashes(killed)).toEqual(await hashes(name));
  });
});

function killOnceThereIs(args: readonly string[], file: string): Promise<void> {
  return signalOnceThereIs(args, file, 'SIGKILL').then(() => undefined);
}

/** Runs the command line until a file is there (or has changed, if it was there before), then sends the signal. */
async function signalOnceThereIs(
  args: readonly string[],
  file: string,
  signal: NodeJS.Signals,
): Promise<{ code: number | null; stderr: string }> {
  const stamp = async () =>
    existsSync(file)
      ? createHash('sha256')
          .update(await readFile(file).catch(() => ''))
          .digest('hex')
      : undefined;
  const before = file.endsWith('identity.json') ? undefined : await stamp();
  const child = spawn(process.execPath, [join(import.meta.dirname, '../dist/cli.js'), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let running = true;
  void ended.then(() => (running = false));
  while (running) {
    const now = await stamp();
    if (now !== undefined && now !== before) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  child.kill(signal);
  return { code: await ended, stderr };
}

/** The package as it is unpacked on a machine that has nothing else of ours. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { editor } from '../../scripts/install-editor.mjs';

const exec = promisify(execFile);
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elastic-precision-unpacked-'));
  await cp(inject('extension'), join(folder, 'extension'), { recursive: true });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The engine of the package, in the editor's Node, outside of the project. */
const engine = async (...args: string[]) => {
  const cli = join(folder, 'extension/dist/cli.js');
  const { stdout } = await exec(editor.node, [cli, ...args, '--json'], { cwd: folder });
  return JSON.parse(stdout) as unknown;
};

it('holds what it needs and nothing else', async () => {
  const names = async (path: string) => (await readdir(join(folder, 'extension', path))).sort();
  expect(await names('.')).toEqual([
    ...['.vsixmanifest', 'LICENSE.txt', 'changelog.md', 'dist', 'docs', 'l10n', 'media'],
    ...['package.json', 'package.nls.json', 'readme.md', 'samples', 'schemas'],
  ]);
  expect(await names('dist/node_modules/onnxruntime-node/bin/napi-v6')).toEqual([process.platform]);
  const libraries = await names('dist/node_modules/tokenizers');
  expect(libraries.filter((name) => name.endsWith('.node'))).toHaveLength(1);
  expect(await names('dist/node_modules/@img')).toEqual([
    ...[
      'colour',
      `sharp-libvips-${process.platform}-${process.arch}`,
      `sharp-${process.platform}-${process.arch}`,
    ],
  ]);
  const files = await readdir(folder, { recursive: true });
  expect(files.filter((file) => /\.(map|ts|gyp|cc|h)$|\.test\./.test(file))).toEqual([]);
  expect((await stat(inject('vsix'))).size).toBeLessThan(60e6);
});

it('runs its engine: worker, probe and native modules are found', async () => {
  const samples = join(folder, 'extension/samples');
  const models = (await engine('models', samples)) as { name: string; supported: boolean }[];
  expect(models.map(({ name, supported }) => [name, supported])).toEqual([
    ['llama-speeches', true],
    ['vit-fashion', true],
  ]);
  const result = (await engine(
    ...['evaluate', join(samples, 'vit-fashion'), '--limit', '64', '--bits', '4', '--baseline', 'rtn'],
    ...['--data', join(samples, 'data/fashion-mnist/evaluation-images-idx3-ubyte.gz'), '--device', 'cpu'],
  )) as { rows: { bits: number | 'fp'; samples: number; top1: number }[] };
  expect(result.rows.map(({ bits, samples }) => [bits, samples])).toEqual([
    ['fp', 64],
    [4, 64],
  ]);
  const devices = (await engine('devices')) as { kind: string; available: boolean }[];
  expect(devices.find(({ kind }) => kind === 'cpu')?.available).toBe(true);
});
